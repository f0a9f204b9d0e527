"""The stack of engine/aws/bootstrap.yaml in moto."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.aws.moto_server import aws_server, make_stack

ROOT = Path(__file__).resolve().parents[4]
TEMPLATE = ROOT / "engine" / "aws" / "bootstrap.yaml"
REPOSITORY = "octo/assistant"


@pytest.fixture
def stack(monkeypatch: pytest.MonkeyPatch, loopback: None) -> Iterator[dict[str, str]]:  # noqa: ARG001 - this machine
    """Make the stack with environments named pre and live; return its outputs."""
    with aws_server(monkeypatch, region="eu-west-3"):
        names = {"Name": "assistant", "Staging": "pre", "Production": "live"}
        yield make_stack(TEMPLATE, Repository=REPOSITORY, OwnerId="123", RepositoryId="456", **names)
