"""Libraries that tests load when they use them: every worker collects every file, and only one runs it."""

from importlib import import_module
from importlib.util import find_spec
from typing import Any

import pytest


class Library:
    def __init__(self, name: str) -> None:
        if find_spec(name.partition(".")[0]) is None:
            pytest.skip(f"{name} is not installed", allow_module_level=True)
        self._name = name

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # pytest asks every name of a file whether it is a test or a fixture
            raise AttributeError(name)
        return getattr(import_module(self._name), name)
