"""Changes of a project's own files that a version of the template needs; `sluice upgrade` makes them.

`v0_2_0.py` belongs to version 0.2.0; its `apply(root) -> list[str]` changes files below `root` and returns their paths.
The replaced engine runs it, so it imports nothing of `sluice`, and it changes nothing where no change is needed.
"""
