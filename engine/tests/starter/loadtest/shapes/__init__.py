"""How many callers, and when."""
