"""A cluster on this machine, and what its manifests render to."""
