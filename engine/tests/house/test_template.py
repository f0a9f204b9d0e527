import os
import subprocess
import sys
from pathlib import Path

import pytest

from sluice.core.project import load_project
from sluice.core.workspace import Workspace
from sluice.data.contract import check_or_raise
from sluice.release import starter
from sluice.template.owned import OWNED, read_list
from starter_files import ROOT, STARTER

PROJECT = load_project(ROOT / "config")
as_it_starts = pytest.mark.skipif(PROJECT.template is not None or bool(PROJECT.without), reason="a project may grow")
own_data = pytest.mark.skipif(not (ROOT / "dvc-store").is_dir(), reason="this project has data of its own")


@as_it_starts
def test_a_project_owns_few_files_and_little_python(root: Path, tracked: list[str]) -> None:
    engine = {*read_list(root, OWNED), "data.dvc"}
    yours = [path for path in tracked if not path.startswith(("engine/", "dvc-store/")) and path not in engine]
    assert len(yours) <= 95
    assert sum((root / path).read_text().count("\n") for path in yours if path.endswith(".py")) <= 600


@as_it_starts
def test_the_copy_is_what_a_project_starts_with(root: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "engine/scripts/write_starter.py", str(tmp_path / "new")], cwd=root, check=True)

    def files(folder: Path) -> dict[str, str]:
        found = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
        return {str(path.relative_to(folder)): path.read_text() for path in found}

    assert files(tmp_path / "new") == files(STARTER), "run engine/scripts/write_starter.py"


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


@own_data
@pytest.mark.real
def test_a_fresh_clone_pulls_data_that_keeps_the_contract(clone: Path) -> None:
    counts = check_or_raise(clone / "data").counts
    assert counts["documents"] >= 60
    assert counts["train"] >= 1300
    assert counts["evaluation"] == 270
    assert counts["evaluation_unanswerable"] >= 40
    datasheet = (clone / "data" / "README.md").read_text().replace("(", " ")
    for name in ("documents", "words", "train", "train_unanswerable"):
        assert f" {counts[name]:,} " in datasheet, name


@own_data
@pytest.mark.real
def test_a_fresh_clone_takes_the_trained_starter(clone: Path) -> None:
    assert all(starter.take(Workspace(clone), stage) for stage in starter.FILES)
