from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from unit.forge.fake_github import REPOSITORY, WRITER, FakeGitHub, fake_github

Environment = Callable[..., dict[str, str]]


@pytest.fixture
def github(loopback: None) -> Iterator[FakeGitHub]:  # noqa: ARG001 - opens the network to this machine
    with fake_github() as fake:
        yield fake


@pytest.fixture
def environment(github: FakeGitHub, tmp_path: Path) -> Environment:
    """What Actions sets for a step of a pull request's run; keywords set or, with None, unset variables."""
    event = tmp_path / "event.json"
    event.write_text(json.dumps({"number": 7, "pull_request": {"number": 7}}))

    def make(**values: str | None) -> dict[str, str]:
        found = {
            "GITHUB_API_URL": github.url,
            "GITHUB_EVENT_PATH": str(event),
            "GITHUB_REPOSITORY": REPOSITORY,
            "GITHUB_RUN_ID": "500",
            "GITHUB_RUN_ATTEMPT": "1",
            "GITHUB_TOKEN": WRITER,
        } | values
        return {name: value for name, value in found.items() if value is not None}

    return make
