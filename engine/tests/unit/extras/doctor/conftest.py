from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from sluice import cli
from sluice.core.workspace import Workspace

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def doctor(workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """`sluice doctor` in the workspace; exit status, output, errors."""
    monkeypatch.chdir(workspace.root)
    for name in ("die_with_parent", "watch_parent"):
        monkeypatch.setattr(cli, name, lambda: None)
    monkeypatch.setattr(cli.signal, "signal", lambda *_: None)

    def call(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["sluice", "doctor", *words])
        status = cli.main()
        said = capsys.readouterr()
        return status, said.out, said.err

    return call
