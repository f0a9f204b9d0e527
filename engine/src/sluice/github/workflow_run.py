"""The workflow run of a step: its number, the results of its jobs, the job summary and outputs."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sluice.core.errors import SluiceError

Run = tuple[int, int]
_EXAMPLE = "give the step env: NEEDS: ${{ toJSON(needs) }}"
# GitHub drops the whole summary of a step that is longer than this.
LIMIT = 1024 * 1024
_CUT = "\n\n_The rest did not fit; it is in the artifacts of the run._\n"
_OUTPUT = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_COMMAND = re.compile(r"^\s*::|##\[", re.MULTILINE)  # as the runner finds them (ActionCommand.cs of actions/runner)


def this_run(environment: Mapping[str, str]) -> Run:
    """Return the numbers of the run and its attempt; later ones are greater."""
    return int(environment.get("GITHUB_RUN_ID") or 0), int(environment.get("GITHUB_RUN_ATTEMPT") or 1)


def run_url(environment: Mapping[str, str]) -> str:
    """Return the page of the run; empty outside of GitHub Actions."""
    server, repository = environment.get("GITHUB_SERVER_URL"), environment.get("GITHUB_REPOSITORY")
    number, attempt = this_run(environment)
    return f"{server}/{repository}/actions/runs/{number}/attempts/{attempt}" if server and repository else ""


def jobs_of(needs: str) -> dict[str, dict[str, Any]]:
    """Parse the context `needs`: {result, outputs} by job."""
    try:
        found: Any = json.loads(needs)
    except ValueError as error:
        raise SluiceError(f"NEEDS: {error}", remedy=_EXAMPLE) from None
    if not isinstance(found, dict) or not all(isinstance(job, dict) for job in found.values()):
        raise SluiceError("NEEDS: not an object of jobs", remedy=_EXAMPLE)
    if not found:
        raise SluiceError("NEEDS: no job", remedy="name the jobs under `needs:`")
    return found


def write_job_summary(markdown: str, environment: Mapping[str, str]) -> str:
    """Append to the job summary; return the result in words."""
    if not (name := environment.get("GITHUB_STEP_SUMMARY")):
        return "no job summary: GITHUB_STEP_SUMMARY is not set"
    path = Path(name)
    raw = (markdown.rstrip("\n") + "\n").encode()
    room = LIMIT - (path.stat().st_size if path.exists() else 0)
    if not (whole := len(raw) <= room):
        kept = raw[: max(0, room - len(_CUT.encode()))]
        raw = kept[: kept.rfind(b"\n") + 1] + _CUT.encode()
        if len(raw) > room:
            return "no job summary: earlier steps have filled it"
    with path.open("ab") as stream:
        stream.write(raw)
    return "job summary written" if whole else "job summary written, cut to GitHub's limit"


def write_outputs(values: Mapping[str, str], environment: Mapping[str, str]) -> str:
    """Append outputs of the step; return the result in words."""
    for name, value in values.items():
        if not _OUTPUT.fullmatch(name) or "\n" in value or "\r" in value:
            raise SluiceError(f"output {name!r} = {value!r}: a name is letters, digits, - and _; a value is one line")
    if not (path := environment.get("GITHUB_OUTPUT")):
        return "no outputs: GITHUB_OUTPUT is not set"
    with Path(path).open("a", encoding="utf-8") as stream:
        stream.writelines(f"{name}={value}\n" for name, value in values.items())
    return f"{len(values)} outputs written"


def warning_at(path: str, line: int, title: str, text: str) -> str:
    """Return the workflow command that shows a warning at a line of a change; escaped as @actions/core escapes it."""

    def escaped(value: str, also: str = "") -> str:
        return "".join(f"%{ord(one):02X}" if one in f"%\r\n{also}" else one for one in value)

    return f"::warning file={escaped(path, ':,')},line={line},title={escaped(title, ':,')}::{escaped(text)}"


def without_commands(text: str) -> str:
    """Return the text with its workflow commands disabled: GitHub's runner obeys those that an error quotes."""
    return _COMMAND.sub(lambda found: found[0].replace("::", ": :").replace("##[", "# #["), text)
