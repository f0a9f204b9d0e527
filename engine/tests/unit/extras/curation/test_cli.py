# ruff: noqa: F811 - a fixture that is imported is named by the tests
"""`sluice data diff` and `card`: what the commands print."""

from __future__ import annotations

import json

import pytest

from sluice.core.workspace import Workspace
from unit.cli.published import here, run  # noqa: F401 - a fixture


def test_a_difference_and_a_datasheet(here: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    path = here.data / "eval.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    difference = json.loads(run(capsys, "diff", "HEAD")[1])
    assert len(difference["eval.jsonl"]["removed"]) == 1
    assert "# Datasheet" in run(capsys, "card")[1]
