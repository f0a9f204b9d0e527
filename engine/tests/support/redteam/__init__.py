"""What attacks are sent to."""
