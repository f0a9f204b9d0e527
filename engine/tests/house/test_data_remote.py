from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sluice.core.workspace import Workspace
from sluice.data.contract import check_or_raise
from sluice.release import starter

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.skipif(not (ROOT / "dvc-store").is_dir(), reason="this project has data of its own")


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of this checkout's last commit, with its data pulled from the remote inside it."""
    folder = tmp_path_factory.mktemp("fork") / "sluice"
    home = tmp_path_factory.mktemp("home")
    env = {**os.environ, "HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), "DVC_NO_ANALYTICS": "1"}
    for argv, where in (
        (["git", "clone", "--quiet", str(ROOT), str(folder)], ROOT),
        ([sys.executable, "-m", "dvc", "pull", "--quiet", "data.dvc"], folder),
    ):
        subprocess.run(argv, cwd=where, env=env, check=True, timeout=120)
    return folder


@pytest.mark.real
def test_a_fresh_clone_pulls_data_that_keeps_the_contract(clone: Path) -> None:
    counts = check_or_raise(clone / "data").counts
    assert counts.documents >= 60
    assert counts.train >= 1300
    assert counts.evaluation == 270
    assert counts.evaluation_unanswerable >= 40
    datasheet = (clone / "data" / "README.md").read_text()
    for figure in (counts.documents, f"{counts.words:,}", f"{counts.train:,}", counts.train_unanswerable):
        assert f" {figure} " in datasheet.replace("(", " "), figure


@pytest.mark.real
def test_a_fresh_clone_takes_the_trained_starter(clone: Path) -> None:
    assert all(starter.take(Workspace(clone), stage) for stage in starter.FILES)
