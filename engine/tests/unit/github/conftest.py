from collections.abc import Callable
from pathlib import Path

import pytest

from unit.github.fake_github import FakeGitHub, actions_environment

Environment = Callable[..., dict[str, str]]


@pytest.fixture
def environment(github: FakeGitHub, tmp_path: Path) -> Environment:
    always = actions_environment(github, tmp_path)

    def make(**values: str | None) -> dict[str, str]:
        return {name: value for name, value in (always | values).items() if value is not None}

    return make
