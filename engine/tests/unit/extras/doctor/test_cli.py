import json
import shutil
from pathlib import Path

import pytest

from sluice.core.workspace import Workspace
from sluice.extras.doctor import aws, cluster, github, local
from sluice.extras.doctor.check import Diagnosis, State
from unit.extras.doctor.conftest import Run

ROOT = Path(__file__).resolve().parents[5]


@pytest.fixture
def run(workspace: Workspace, monkeypatch: pytest.MonkeyPatch, doctor: Run) -> Run:
    shutil.copy(ROOT / "config" / "project.yaml", workspace.config)

    def call(*words: str, **states: State) -> tuple[int, str, str]:
        for target in (local, github, aws, cluster):
            state = states.get(target.__name__.rpartition(".")[2], "ok")
            found = [Diagnosis("git", state, "2.47", "get git")]
            monkeypatch.setattr(target, "check", lambda _, found=found: found)
        return doctor(*words)

    return call


@pytest.mark.parametrize(("state", "status"), [("ok", 0), ("optional", 0), ("missing", 1), ("not verified", 1)])
def test_the_exit_code_is_that_of_the_target(run: Run, state: State, status: int) -> None:
    for target in ("local", "github", "aws", "cluster"):
        assert run(target, **{target: state})[0] == status
        assert run(*(other for other in ("local", "github") if other != target), **{target: state})[0] in (0, status)
    assert run(aws=state)[0] == status, "without a name all are looked at"


def test_what_is_missing_stands_beside_what_mends_it(run: Run) -> None:
    out = run("local", "github", github="missing")[1]
    assert out.splitlines()[0] == "local: 1 checks passed"
    assert "MISSING       git  2.47" in out
    assert out.count("-> get git") == 1
    out = run("local", "--json", local="missing")[1]
    assert json.loads(out) == {"local": [{"what": "git", "state": "missing", "found": "2.47", "fix": "get git"}]}


def test_a_target_that_is_none(run: Run) -> None:
    status, _, err = run("githup")
    assert (status, "did you mean 'github'" in err) == (1, True)
