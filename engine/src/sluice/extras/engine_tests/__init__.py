"""The engine's own tests on GitHub, which `sluice init` takes out of a project."""
