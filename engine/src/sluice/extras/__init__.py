"""Optional parts of the engine; no other package imports them."""
