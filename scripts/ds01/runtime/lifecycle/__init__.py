"""What becomes of containers over time: rules that decide, and what acts on them."""
