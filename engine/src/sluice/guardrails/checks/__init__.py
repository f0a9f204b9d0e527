"""The checks of the engine: one file each, which adds its check by the decorator `check`. See ../check.py."""
