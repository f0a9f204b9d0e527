import sys
from pathlib import Path

import pytest

from sluice.core.closures import SERVE, STAGES, CodeGraph
from sluice.template.owned import list_files
from support.git import git
from unit.template.conftest import ROOT, call, commit, run

pytestmark = [pytest.mark.drill, pytest.mark.real, pytest.mark.timeout(5400)]
VENV = Path(sys.executable).parents[1]


def sluice(root: Path, *words: str) -> str:
    done = call(root, *words)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    return done.stdout


def test_this_repository_installed_is_the_same_project(tmp_path: Path) -> None:
    """With names of its own, its engine in git and from a wheel; so the id of a release is the same."""
    vendored, installed = tmp_path / "vendored", tmp_path / "installed"
    for name in ("template", "vendored"):
        git(tmp_path, "clone", "--quiet", str(ROOT), name)
    sluice(vendored, "init", "--name", "zephyr-desk", "--organisation", "acme-labs", "--from", "acme-labs/template")
    commit(vendored, "Names")
    wheels = []
    for name in ("template", "vendored"):  # what the template has for itself alone is in no wheel
        sluice(tmp_path / name, "engine", "pack", "--out", str(tmp_path / f"of-{name}"))
        wheels += (tmp_path / f"of-{name}").glob("*.whl")
    assert (wheels[0].name, wheels[0].read_bytes()) == (wheels[1].name, wheels[1].read_bytes())
    git(tmp_path, "clone", "--quiet", str(vendored), "work")
    sluice(tmp_path / "work", "engine", "install", "--from", str(wheels[1]))
    commit(tmp_path / "work", "Install the engine")
    git(tmp_path, "clone", "--quiet", str(tmp_path / "work"), "installed")
    assert not (installed / "engine").exists()
    ready = [f"--old-file={VENV}/{name}" for name in (".ready", "scan/.ready") if (VENV / name).exists()]
    done = run(installed, "make", "help", f"VENV={VENV}", *ready)
    assert "release" in done.stdout, f"any task brings the engine first: {done.stderr}"
    files = {path for path in list_files(vendored) if path.startswith("engine/")}
    assert {path for path in list_files(installed) if path.startswith("engine/")} == files
    assert [path for path in files if (installed / path).read_bytes() != (vendored / path).read_bytes()] == []
    assert "no file of the engine was edited" in sluice(installed, "engine", "check")
    assert git(installed, "status", "--porcelain") == ""
    ours, theirs = (CodeGraph(root).code_of(SERVE, *STAGES.values()).files for root in (vendored, installed))
    assert ours == theirs
