from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.aws.moto_server import aws_server, make_stack

ROOT = Path(__file__).resolve().parents[4]
TEMPLATE = ROOT / "engine" / "aws" / "bootstrap.yaml"
REPOSITORY = "octo/assistant"


Make = Callable[..., dict[str, str]]


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch, loopback: None) -> Iterator[Make]:  # noqa: ARG001 - this machine
    """Make the stack with environments named pre and live; return its outputs."""
    names = {"Repository": REPOSITORY, "OwnerId": "123", "RepositoryId": "456", "Name": "assistant"}
    with aws_server(monkeypatch, region="eu-west-3"):
        yield lambda **more: make_stack(TEMPLATE, **names, Staging="pre", Production="live", **more)


@pytest.fixture
def stack(make: Make) -> dict[str, str]:
    return make()
