"""answers.jsonl: the responses to requests.jsonl, or one line that says why there are none."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from pydantic import Field, ValidationError

from sluice.core.atomic_files import write_atomic
from sluice.core.errors import SluiceError
from sluice.core.settings import Settings
from sluice.core.workspace import Workspace
from sluice.evaluation.response_cache import FOLDER, ResponseCache
from sluice.extras.hosted.published import read_file, runs_of_main
from sluice.github.workflow_run import this_run

if TYPE_CHECKING:
    from github.Repository import Repository

NAME = "answers.jsonl"
REFUSED = "answers-refused"  # below .sluice/: why the last requests were not answered


class _CallPiece(Settings):
    """A piece of a call of a tool, in LangChain's form."""

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


def artifact_of(run: int) -> str:
    """Name of the artifact with the answers to a run of ci."""
    return f"answers-{run}"


def refusal(error: SluiceError) -> dict[str, str]:
    """The line that says why there are no answers."""
    return {"refused": str(error)}


def bring_answers(workspace: Workspace, repository: Repository, environment: Mapping[str, str]) -> int:
    """Takes what main has answered to this run of ci into the response cache."""
    number, _ = this_run(environment)
    since = repository.get_workflow_run(number).created_at
    cache, brought, latest = ResponseCache(workspace.state / FOLDER), 0, True
    (workspace.state / REFUSED).unlink(missing_ok=True)
    for run in runs_of_main(repository, since):
        raw = read_file(run, artifact_of(number), NAME, environment)
        if raw is None:
            continue
        for line in _lines(raw):
            if line.value is not None:
                cache.put(line.digest, line.value.model_dump(mode="json", exclude_unset=True))
                brought += 1
            elif latest:
                write_atomic(workspace.state / REFUSED, line.refused)
        latest = False
    return brought


def _lines(raw: bytes) -> list[_Line]:
    """All of them, before the first is used."""
    try:
        found = [_Line.model_validate(json.loads(line)) for line in raw.split(b"\n") if line.strip()]
    except (ValidationError, ValueError, RecursionError):
        raise SluiceError(f"{NAME}: a line is not a response", remedy="run answer-requests again") from None
    if any(bool(line.digest) != (line.value is not None) for line in found):
        raise SluiceError(f"{NAME}: a response without its digest", remedy="run answer-requests again")
    return found
