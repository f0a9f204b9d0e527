"""The summary of a job: Markdown on the page of the run on GitHub."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

# GitHub drops the whole summary of a step that is longer than this.
LIMIT = 1024 * 1024
_CUT = "\n\n_The rest did not fit; it is in the artifacts of the run._\n"


def write_job_summary(markdown: str, environment: Mapping[str, str]) -> str:
    """Appends to the file that GITHUB_STEP_SUMMARY names; returns what it did, in words. Without one there is
    nothing to do."""
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
