"""An upgrade that is cut off at any step leaves nothing behind that the next one stumbles over."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sluice import cli
from sluice.core import git as core_git
from sluice.extras.upgrade.upgrade_engine import BRANCH
from unit.extras.upgrade.conftest import Fork
from unit.template.conftest import commit, git, lines

CODEMOD = """\
def apply(root):
    (root / "config/gates.yaml").write_text("gates: [fixed]\\n")
    return ["config/gates.yaml"]
"""
_RUN_BYTES = core_git.run_bytes


class _Killed(BaseException):
    """In the place of a signal: nothing that catches errors catches it."""


@pytest.fixture
def fork(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fork:
    """A project with an edit to merge, and a version with a codemod to take."""
    made = Fork(tmp_path)
    commit(made.root, "Ours", {".github/workflows/ci.yml": lines(1, 20, l19="ours")})
    files: dict[str, str | None] = {
        "engine/src/sluice/extras/upgrade/codemods/v0_2_0.py": CODEMOD,
        ".github/workflows/ci.yml": lines(1, 20, l2="theirs"),
    }
    made.template.release("0.2.0", files)
    monkeypatch.chdir(made.root)
    return made


def run_upgrade(fork: Fork) -> None:
    cli.command()(["upgrade", "--from", str(fork.template.root)], standalone_mode=False)


def calls_of_git(fork: Fork, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many calls of git a whole upgrade makes. Its branch is removed again."""
    count = 0

    def counted(*words: Any, **more: Any) -> bytes:
        nonlocal count
        count += 1
        return _RUN_BYTES(*words, **more)

    with monkeypatch.context() as patched:
        patched.setattr(core_git, "run_bytes", counted)
        run_upgrade(fork)
    git(fork.root, "branch", "-D", BRANCH)
    return count


def test_killed_before_each_call_of_git_and_after_the_last_it_can_be_run_again(
    fork: Fork, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_upgrade(fork)
    wanted = git(fork.root, "rev-parse", BRANCH)
    git(fork.root, "branch", "-D", BRANCH)
    clean = git(fork.root, "for-each-ref")
    steps = calls_of_git(fork, monkeypatch)
    assert steps > 15
    for step in range(steps + 1):
        left = step

        def dying(*words: Any, **more: Any) -> bytes:
            nonlocal left
            left -= 1
            if left < 0:
                raise _Killed
            found = _RUN_BYTES(*words, **more)
            if left == 0 and step == steps:  # noqa: B023 - called in this round alone
                raise _Killed
            return found

        with monkeypatch.context() as patched:
            patched.setattr(core_git, "run_bytes", dying)
            with pytest.raises(_Killed):
                run_upgrade(fork)
        assert step == steps or git(fork.root, "for-each-ref") == clean, f"call {step}: the branch moves last"
        assert git(fork.root, "status", "--porcelain") == ""
    run_upgrade(fork)
    assert git(fork.root, "rev-parse", BRANCH) == wanted
    assert not list((fork.root / ".git").rglob("*.lock"))


# Says when the files are assembled, and waits there to be killed.
_SLOW = """
import sys, time
from pathlib import Path
from sluice.extras.upgrade import upgrade_engine as upgrade
from sluice.cli import main
real, place = upgrade.run, Path(sys.argv.pop())
def slow(*words, **more):
    if words[1] == "write-tree":
        place.touch()
        time.sleep(600)
    return real(*words, **more)
upgrade.run = slow
main()
"""


def test_a_process_that_is_killed_leaves_the_project_as_it_was(fork: Fork, tmp_path: Path) -> None:
    there = tmp_path / "there"
    argv = [sys.executable, "-c", _SLOW, "upgrade", "--from", str(fork.template.root), str(there)]
    before = git(fork.root, "for-each-ref")
    with subprocess.Popen(argv, cwd=fork.root, stdout=subprocess.DEVNULL) as process:
        while not there.exists():
            assert process.poll() is None, "it ended by itself"
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert process.returncode == -signal.SIGKILL
    assert git(fork.root, "for-each-ref") == before
    assert git(fork.root, "status", "--porcelain") == ""
    run_upgrade(fork)
    assert "fixed" in git(fork.root, "show", f"{BRANCH}:config/gates.yaml")
