from unit.github.conftest import environment, github  # noqa: F401 - fixtures
