"""The metrics of the engine: one file each, which adds its metric by the decorator `metric`. See ../registry.py."""
