"""A checkout whose data are published, and a GitHub that it pushes to."""

import json
import sys
from pathlib import Path

import pytest

from sluice.cli import main
from sluice.core.workspace import Workspace
from sluice.data.privacy import DataPolicy
from sluice.data.publish import push
from support.git import commit_all, git
from unit.data.conftest import make_checkout
from unit.github.fake_github import REPOSITORY, WRITER
from unit.github.fake_repository import FakeRepository


@pytest.fixture
def here(
    workspace: Workspace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    in_process: None,  # noqa: ARG001
) -> Workspace:
    # The miniature's one training row is an evaluation row too, which may not be published.
    row = {"id": "t1", "question": "Who minds the lamp at night?", "answers": [], "doc_ids": []}
    (workspace.data / "train.jsonl").write_text(json.dumps(row) + "\n")
    make_checkout(workspace.root, str(tmp_path / "store"), cache=tmp_path / "site")
    push(workspace, DataPolicy())
    commit_all(workspace.root)
    monkeypatch.chdir(workspace.root)
    for name in ("SLUICE_TRAFFIC", "SLUICE_ARTEFACTS", "GITHUB_ACTIONS"):
        monkeypatch.delenv(name, raising=False)
    return workspace


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    capsys.readouterr()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["sluice", "data", *words])
        status = main()
    said = capsys.readouterr()
    return status, said.out, said.err


@pytest.fixture
def server(here: Workspace, there: FakeRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    server = tmp_path / "server.git"
    git(tmp_path, "init", "--quiet", "--bare", "--initial-branch", "main", str(server))
    git(here.root, "remote", "add", "origin", str(server))
    git(here.root, "push", "--quiet", "origin", "main")
    for name, value in (("GITHUB_API_URL", there.url), ("GITHUB_REPOSITORY", REPOSITORY), ("GITHUB_TOKEN", WRITER)):
        monkeypatch.setenv(name, value)
    return server
