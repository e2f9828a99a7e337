"""What runs on the host after a deploy: live limits and the commands people type."""
