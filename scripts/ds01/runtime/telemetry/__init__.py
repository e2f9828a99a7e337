"""What the host measures of itself over time."""
