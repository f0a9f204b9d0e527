"""What callers do."""
