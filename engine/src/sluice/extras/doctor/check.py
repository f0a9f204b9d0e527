"""The result of a check, and the settings for it."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sluice.core.project import Project

if TYPE_CHECKING:
    from sluice.extras.doctor.github_changes import GitHubChange

# `optional`: not there, and nothing fails without it.
State = Literal["ok", "missing", "not verified", "optional"]
_PROGRAM_SECONDS = 60


@dataclass(frozen=True)
class Diagnosis:
    """`what` was inspected, what was `found`, and the command that corrects it; on GitHub as `changes` as well."""

    what: str
    state: State
    found: str
    fix: str = ""
    changes: tuple[GitHubChange, ...] = ()

    @property
    def good(self) -> bool:
        return self.state in ("ok", "optional")


@dataclass(frozen=True)
class DiagnosisScope:
    """`environment`: variables of the process. `overlays`: environments of the cluster to look at. `context`: in the
    kubeconfig, empty for its current one."""

    root: Path
    names: Project
    environment: Mapping[str, str]
    overlays: tuple[str, ...] = ()
    context: str = ""


def passed(what: str, found: str) -> Diagnosis:
    """A diagnosis that is good."""
    return Diagnosis(what, "ok", found)


def unverified(what: str, why: str, fix: str) -> Diagnosis:
    """For what could not be looked at: the first line of why."""
    return Diagnosis(what, "not verified", first_line(why.strip())[:200] or "no reason given", fix)


def run_program(argv: Sequence[str | Path], text: str = "") -> tuple[int, str]:
    """Exit code and all that a program says, of its errors where it fails; 127 when there is none. It reads `text`."""
    try:
        done = subprocess.run(argv, input=text, capture_output=True, text=True, timeout=_PROGRAM_SECONDS, check=False)
    except FileNotFoundError:
        return 127, "not found"
    except (OSError, subprocess.TimeoutExpired) as error:
        return 126, str(error)
    said = (done.stderr, done.stdout) if done.returncode else (done.stdout, done.stderr)
    return done.returncode, next((words.strip() for words in said if words.strip()), "")


def first_line(text: str) -> str:
    return text.splitlines()[0] if text else ""
