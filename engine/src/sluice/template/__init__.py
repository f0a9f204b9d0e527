"""A project's names, and the engine's files in it."""
