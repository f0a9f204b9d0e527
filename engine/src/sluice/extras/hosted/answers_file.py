"""answers.jsonl, which main publishes, and how `sluice eval` ends if responses are missing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, ValidationError

from sluice.core.atomic_files import read_json, write_atomic
from sluice.core.errors import GateFailed, SluiceError
from sluice.core.settings import Settings
from sluice.core.workspace import Workspace
from sluice.evaluation.response_cache import FOLDER, MISSING, ResponseCache
from sluice.extras.hosted.actions_runs import MainRuns, read_file
from sluice.extras.hosted.check_run import ANSWERS
from sluice.extras.hosted.request_file import NAME as REQUESTS
from sluice.extras.hosted.request_file import load_limits, write_requests
from sluice.github.workflow_run import this_run, write_outputs

if TYPE_CHECKING:
    from github.Repository import Repository


_REFUSED = "answers-refused"  # below .sluice/: why the last requests were not answered


class _CallPiece(Settings):
    type: Literal["tool_call_chunk"]
    index: int | str | None
    id: str | None
    name: str | None
    args: str | None


class _Response(Settings):
    """An entry of the response cache, as evaluation/replay.py writes it."""

    text: str
    tool_calls: tuple[_CallPiece, ...] = ()
    finish_reason: Literal["stop", "length", "content_filter", "tool_calls"]
    usage: tuple[int, int] | None
    provider: str
    model: str
    seconds: float = Field(ge=0, allow_inf_nan=False)
    first_token_seconds: float = Field(ge=0, allow_inf_nan=False)
    asked: str


class _Line(Settings):
    digest: str = Field("", pattern=r"^[0-9a-f]{64}$")
    value: _Response | None = None
    refused: str = ""


def bring_answers(workspace: Workspace, repository: Repository, environment: Mapping[str, str]) -> int:
    """Copy main's answers to this ci run into the response cache."""
    number, _ = this_run(environment)
    cache, brought, latest = ResponseCache(workspace.state / FOLDER), 0, True
    (workspace.state / _REFUSED).unlink(missing_ok=True)
    for run in MainRuns(repository).that_published(f"answers-{number}"):
        raw = read_file(run, f"answers-{number}", ANSWERS, environment)
        if raw is None:
            continue
        for line in _lines(raw):
            if line.value is not None:
                cache.put(line.digest, line.value.model_dump(mode="json", exclude_unset=True))
                brought += 1
            elif latest:
                write_atomic(workspace.state / _REFUSED, line.refused)
        latest = False
    return brought


def _lines(raw: bytes) -> list[_Line]:
    """Parse all lines before the first is used."""
    try:
        found = [_Line.model_validate(json.loads(line)) for line in raw.split(b"\n") if line.strip()]
    except (ValidationError, ValueError, RecursionError):
        raise SluiceError(f"{ANSWERS}: a line is not a response", remedy="run answer-requests again") from None
    if any(bool(line.digest) != (line.value is not None) for line in found):
        raise SluiceError(f"{ANSWERS}: a response without its digest", remedy="run answer-requests again")
    return found


class AnswersAwaitedError(SluiceError):
    """No verdict yet. GitHub has no neutral end for a job, so it fails and its comment says why."""

    exit_code = 4


def unanswered(comparison: Any, environment: Mapping[str, str]) -> SluiceError | None:
    """Write build/requests.jsonl after a comparison that lacked responses."""
    workspace = Workspace.find()
    written = workspace.build / REQUESTS
    written.unlink(missing_ok=True)
    if not comparison.replayed or comparison.comparison is None:
        return None
    cache = ResponseCache(workspace.state / FOLDER)
    noted = [read_json(path) for path in sorted((cache.folder / MISSING).glob("*.json"))]
    requests = [one for one in noted if cache.get(one["digest"]) is None]
    if not requests:
        return None
    run, attempt = this_run(environment)
    if not run:
        write_requests(written, requests)
        return None
    count = f"{len(requests)} request{'s' * (len(requests) > 1)}"
    refused = workspace.state / _REFUSED
    if refused.exists():
        return GateFailed("Not evaluated: the requests were refused", remedy=refused.read_text(encoding="utf-8"))
    rounds = load_limits(workspace.config).rounds
    if attempt > rounds:
        what = f"Not evaluated: {count} without an answer after {rounds} rounds"
        remedy = "A question that asks a model in a longer chain needs more `rounds` in config/hosted.yaml of main. "
        return GateFailed(what, remedy=f"{remedy}What failed is in the log of answer-requests; push to try again.")
    write_requests(written, requests)  # the sign that this run waits: main runs it again for no other reason
    remedy = f"{count} to hosted models, round {attempt} of {rounds} at most: this job has no key. The workflow "
    remedy += "`answer-requests` of the default branch asks them and runs this job again; this comment changes then. "
    awaited = AnswersAwaitedError("Waiting for answers", remedy=f"{remedy}Nothing was found against the change so far.")
    if environment.get("PENDING") == "true":  # no job of this attempt goes by the name that the branch rule asks for
        write_outputs({"waiting": "true"}, environment)
        awaited.exit_code = 0
    return awaited
