"""The engine's own tests on GitHub. They are the template's work: `sluice init` takes them out of a project."""
