from unit.github.conftest import environment  # noqa: F401 - a fixture
