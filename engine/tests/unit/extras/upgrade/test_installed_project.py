from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sluice.core.closures import SERVE, STAGES, CodeGraph
from sluice.template.owned import edits, list_files
from unit.template.conftest import ROOT, commit, git

pytestmark = [pytest.mark.drill, pytest.mark.real, pytest.mark.timeout(5400)]
MOST_FILES = 150
VENV = Path(sys.executable).parents[1]


def run(root: Path, *argv: str) -> str:
    paths = os.pathsep.join(str(root / path) for path in ("src", "engine/src", "engine/tests"))
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    environment |= {"PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(argv, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{argv}\n{done.stdout[-6000:]}{done.stderr[-3000:]}"
    return done.stdout


def sluice(root: Path, *words: str) -> str:
    return run(root, sys.executable, "-c", "import sys; from sluice.cli import main; sys.exit(main())", *words)


def make(root: Path, target: str) -> str:
    ready = [f"--old-file={VENV}/{name}" for name in (".ready", "scan/.ready") if (VENV / name).exists()]
    return run(root, "make", target, f"VENV={VENV}", *ready)


@pytest.fixture(scope="module")
def projects(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("projects")
    git(folder, "clone", "--quiet", str(ROOT), "vendored")
    vendored = folder / "vendored"
    sluice(vendored, "init", "--name", "zephyr-desk", "--organisation", "acme-labs", "--from", "acme-labs/template")
    commit(vendored, "Names")
    said = sluice(vendored, "engine", "pack", "--out", str(folder / "dist"))
    (wheel,) = (folder / "dist").iterdir()
    assert str(wheel) in said
    git(folder, "clone", "--quiet", str(vendored), "work")
    sluice(folder / "work", "engine", "install", "--from", str(wheel))
    commit(folder / "work", "Install the engine")
    git(folder, "clone", "--quiet", str(folder / "work"), "installed")
    return vendored, folder / "installed"


def test_an_installed_project_is_small_and_makes_its_engine(projects: tuple[Path, Path]) -> None:
    vendored, installed = projects
    listed = git(installed, "ls-files").splitlines()
    assert len([path for path in listed if not path.startswith("dvc-store/")]) <= MOST_FILES
    assert not (installed / "engine").exists()
    assert "release" in make(installed, "help"), "any task brings the engine first"
    files = {path for path in list_files(vendored) if path.startswith("engine/")}
    assert {path for path in list_files(installed) if path.startswith("engine/")} == files
    assert [path for path in files if (installed / path).read_bytes() != (vendored / path).read_bytes()] == []
    assert edits(installed, list_files(installed)) == []
    assert "no file of the engine was edited" in sluice(installed, "engine", "check")
    assert git(installed, "status", "--porcelain") == ""


def test_the_template_packs_the_wheel_of_its_projects(projects: tuple[Path, Path]) -> None:
    folder = projects[0].parent
    git(folder, "clone", "--quiet", str(ROOT), "template")
    sluice(folder / "template", "engine", "pack", "--out", str(folder / "packed"))
    ((wheel,), (packed,)) = ((folder / name).glob("*.whl") for name in ("dist", "packed"))
    assert (packed.name, packed.read_bytes()) == (wheel.name, wheel.read_bytes())


def test_the_code_of_a_release_is_the_same(projects: tuple[Path, Path]) -> None:
    make(projects[1], "help")  # any task brings the engine first
    vendored, installed = (CodeGraph(root).code_of(SERVE, *STAGES.values()) for root in projects)
    assert vendored.files == installed.files
