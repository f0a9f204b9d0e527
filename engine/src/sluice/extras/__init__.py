"""Parts that a project may leave out; nothing else of the engine imports them."""
