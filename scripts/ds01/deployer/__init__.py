"""From a wanted tree to the host: observe, plan, apply, verify; standard library only, never reads the inventory."""
