"""Test support for projects: the pytest plugin and doubles. Nothing that serves imports this package."""
