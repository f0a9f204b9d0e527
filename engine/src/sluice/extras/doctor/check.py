"""The result of a check, and the requests that fix a repository on GitHub."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from sluice.core.project import Project

# `optional`: not there, and nothing fails without it.
State = Literal["ok", "missing", "not verified", "optional"]
_PROGRAM_SECONDS = 60


@dataclass(frozen=True)
class GitHubChange:
    """A request below the repository; `source` is the file of its body, `right` what a fine-grained token needs."""

    method: str
    path: str
    body: Mapping[str, Any] | None = None
    source: str = ""
    right: str = "Administration"

    def command(self, repository: str) -> str:
        fields = ["--input", self.source] if self.source else _fields(self.body or {})
        return shlex.join(["gh", "api", "-X", self.method, f"repos/{repository}{self.path}", *fields])


@dataclass(frozen=True)
class Diagnosis:
    """A finding and the command that corrects it; on GitHub its `changes` as well."""

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
    """The checkout, variables of the process, and the overlays and kubeconfig context of the cluster."""

    root: Path
    names: Project
    environment: Mapping[str, str]
    overlays: tuple[str, ...] = ()
    context: str = ""


def passed(what: str, found: str) -> Diagnosis:
    return Diagnosis(what, "ok", found)


def unverified(what: str, why: str, fix: str) -> Diagnosis:
    return Diagnosis(what, "not verified", first_line(why.strip())[:200] or "no reason given", fix)


def run_program(argv: Sequence[str | Path], text: str = "") -> tuple[int, str]:
    """Return the exit code and the output of a program, or its errors if it fails; 127 if it is missing."""
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


def _fields(body: Mapping[str, Any]) -> list[str]:
    """Return options of `gh api`: `-f` for a string, `-F` for other types."""
    pairs = chain.from_iterable(_flat(name, value) for name, value in body.items())
    return [
        word
        for name, value in pairs
        for word in (("-f", f"{name}={value}") if isinstance(value, str) else ("-F", f"{name}={json.dumps(value)}"))
    ]


def _flat(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(f"{name}[{key}]", inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _flat(f"{name}[]", inner)
    else:
        yield name, value
