"""The page of a release. A package of its own, since the package around it holds what serves."""
