"""Jobs of the commands: a release, its steps, the comparison of a change, the DVC pipeline."""
