"""What the tests of a project use: pytest loads `sluice.testing.plugin` by the `-p` of the project's pyproject.toml.

Nothing that serves imports this package.
"""
