"""What zizmor, and actionlint with shellcheck, say of .github/: nothing. What is seeded they find."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

BIN = Path(sys.executable).parent
# Exit status of zizmor: 11 informational, 12 low, 13 medium, 14 high.
INFORMATIONAL, MEDIUM = 11, 13
SEEDED = """name: seeded
on: push
permissions: {}
jobs:
  one:
    name: one
    runs-on: ubuntu-24.04
    steps:
      - name: Work
        run: make test
"""


def run(program: str, *words: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("GH_", "GITHUB_", "ZIZMOR"))}
    return subprocess.run([BIN / program, *words], cwd=cwd, env=env, capture_output=True, text=True, check=False)


def zizmor(folder: Path) -> subprocess.CompletedProcess[str]:
    return run("zizmor", "--offline", "--no-progress", "--persona", "auditor", ".", cwd=folder)


def actionlint(*files: Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return run("actionlint", "-oneline", "-shellcheck", BIN / "shellcheck", "-pyflakes", "", *files, cwd=cwd)


@pytest.fixture
def seeded(tmp_path: Path) -> Path:
    path = tmp_path / ".github" / "workflows" / "seeded.yml"
    path.parent.mkdir(parents=True)
    path.write_text(SEEDED)
    return path


def test_zizmor_finds_nothing_above_informational(root: Path) -> None:
    done = zizmor(root)
    assert done.returncode in (0, INFORMATIONAL), done.stdout + done.stderr
    assert "completed ./.github/workflows/ci.yml" in done.stderr


def test_zizmor_finds_what_is_seeded(seeded: Path, tmp_path: Path) -> None:
    seeded.write_text(SEEDED.replace("make test", "make ${{ github.head_ref }}"))
    done = zizmor(tmp_path)
    assert done.returncode >= MEDIUM
    assert "template-injection" in done.stdout


def test_zizmor_is_told_to_pass_over_little_and_why(root: Path, texts: dict[str, str]) -> None:
    path = root / ".github" / "zizmor.yml"
    rules = yaml.safe_load(path.read_text())["rules"]
    assert {name for name, rule in rules.items() if rule.get("disable")} == {"self-repository"}
    ignored = [place for rule in rules.values() for place in rule.get("ignore", [])]
    inline = [name for name, text in texts.items() if name.startswith(".github/") and "zizmor: ignore" in text]
    assert len(ignored) + len(inline) <= 3
    for name in rules:
        assert re.search(rf"^ *#.*\n +{name}:", path.read_text(), re.MULTILINE), f"{name}: no comment says why"


def test_actionlint_finds_nothing(root: Path) -> None:
    done = actionlint(cwd=root)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("    steps:", "    needs: two\n    steps:", 'needs job "two" which does not exist'),
        ("make test", "make ${{ steps.nowhere.outputs.x }}", 'property "nowhere" is not defined'),
        ("make test", "make $TARGET", "SC2086"),
    ],
)
def test_actionlint_finds_what_is_seeded(seeded: Path, tmp_path: Path, old: str, new: str, words: str) -> None:
    seeded.write_text(SEEDED.replace(old, new))
    done = actionlint(seeded, cwd=tmp_path)
    assert done.returncode == 1
    assert words in done.stdout


def test_make_check_asks_them(root: Path) -> None:
    hooks = yaml.safe_load((root / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    entries = {hook["id"]: hook["entry"] for hook in hooks}
    assert "--persona auditor --min-severity low" in entries["zizmor"]
    assert "-shellcheck .venv/bin/shellcheck" in entries["actionlint"]
