"""Changes of a project's own files that a version of the template demands; `sluice upgrade` makes them.

One file for each such version: `v0_2_0.py` belongs to version 0.2.0. It has a function `apply(root) -> list[str]` that
changes files of the project below `root` and returns their paths. It is run by the engine that is replaced, so it
imports nothing of `sluice`; and on a project that needs no change it changes nothing.
"""
