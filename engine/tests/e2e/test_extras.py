"""Each extra is taken out of a clone, and all of them: what is left is whole.

Nothing imports what is gone, every test is still collected, pages, tasks, workflows and commands hold to the rules of
the house, and the name is read nowhere that a project looks. `make test-engine` takes all of them out at once. `make
test-extras` takes each out alone too, and holds what is left without any to its types and every contract.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import ROOT
from sluice.core.extras import FOLDER, extras
from sluice.template.extras import with_dependents

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]

BIN = Path(sys.executable).parent
RULES = ("code_of_stages", "extras", "help", "house", "make", "pages", "tree", "workflows")
# Words that mean an extra and nothing else, where a project reads them.
TELLING = {
    "aws_models": "bedrock",
    "datakit": "datakit",
    "guard": "guard train",
    "language": "same_language",
    "redteam": "redteam",
    "sagemaker": "sagemaker",
}
READ = ("README.md", "Makefile", "engine/docs/README.md", ".github/workflows", "config")
RECORDED = ":!config/project.yaml"  # which remembers what was left out
WITH_EXTRAS = pytest.mark.skipif(not extras(), reason="all extras were left out")
Clone = Callable[..., Path]


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    """Makes a clone of the working tree without the named extras."""

    def make(*names: str) -> Path:
        root = tmp_path / "clone"
        git(tmp_path, "clone", "--quiet", "--shared", str(ROOT), str(root))
        for path in filter(None, git(ROOT, "ls-files", "-mo", "--exclude-standard", "-z").split("\0")):
            if (ROOT / path).is_file():
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                (root / path).write_bytes((ROOT / path).read_bytes())
            else:
                (root / path).unlink(missing_ok=True)
        git(root, "add", "--all")
        git(root, "-c", "user.name=t", "-c", "user.email=t@t.test", "commit", "--quiet", "--allow-empty", "-m", "whole")
        said = run(root, "sluice", "init", "--without", ",".join(names))
        assert ": gone, " in said
        return root

    return make


def git(root: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=root, check=True, capture_output=True, text=True).stdout


def run(root: Path, program: str, *words: str) -> str:
    """Runs a program of this environment with the code of the clone; what it says."""
    code = f"{root / 'src'}{os.pathsep}{root / 'engine' / 'src'}"
    done = subprocess.run(
        [BIN / program, *words], cwd=root, env={**os.environ, "PYTHONPATH": code}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def check(root: Path, gone: list[str]) -> None:
    run(root, "ruff", "check", "--no-cache", "--quiet", ".")
    assert not [name for name in gone if (root / FOLDER / name).exists()]
    listed = run(root, "sluice", "extras")
    assert [line.split()[0] for line in listed.splitlines()] == [name for name in extras() if name not in gone]
    run(root, "pytest", "--collect-only", "engine/tests")
    for word in (TELLING[name] for name in gone if name in TELLING):
        left = subprocess.run(
            ["git", "grep", "-il", word, "--", *READ, RECORDED], cwd=root, capture_output=True, text=True
        ).stdout.split()
        assert left == [], word
    rules = [path for rule in RULES for path in root.glob(f"engine/tests/[ch]o*/test_{rule}.py")]
    assert len(rules) == len(RULES)
    run(root, "pytest", *map(str, rules))


@pytest.mark.extras
@pytest.mark.parametrize("name", sorted(extras()))
def test_what_is_left_without_one_is_whole(clone: Clone, name: str) -> None:
    check(clone(name), with_dependents([name]))


@WITH_EXTRAS
def test_what_is_left_without_any_is_whole(clone: Clone) -> None:
    root = clone(*extras())
    check(root, sorted(extras()))
    run(root, "lint-imports", "--no-cache", "--config", "engine/pyproject.toml")


@pytest.mark.extras
@WITH_EXTRAS
def test_what_is_left_without_any_keeps_its_types_and_contracts(clone: Clone) -> None:
    root = clone(*extras())
    run(root, "mypy", "--config-file", "engine/pyproject.toml")
    rest = ["engine/tests/contract", "engine/tests/house", "engine/tests/unit/test_cli.py"]
    run(root, "pytest", "-m", "not real and not e2e", *rest)
