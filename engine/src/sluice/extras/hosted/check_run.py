"""The two steps of answer-requests.yml: requests of a run of ci are checked without a key, then asked with one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from sluice.core.atomic_files import read_json, write_json, write_jsonl
from sluice.core.errors import SluiceError
from sluice.core.workspace import Workspace
from sluice.extras.hosted import answers_file, request_file, spend_ledger
from sluice.extras.hosted.answer_requests import answer
from sluice.extras.hosted.limits import load_limits
from sluice.extras.hosted.published import (
    UnusableArtifactError,
    may_write,
    read_file,
    waiting_run,
)
from sluice.extras.hosted.request_check import check_requests
from sluice.extras.hosted.request_file import RefusedRequestsError
from sluice.extras.hosted.spend_ledger import Spend
from sluice.github.github_client import open_repository

_MOST_FILE_BYTES = 256 << 20
_STRANGER = "the author may not write to the repository"
_BY_HAND = "a maintainer can start answer-requests by hand, with the number of the run"


class CheckedRun(NamedTuple):
    """`word`: ask, refused or none, for the steps that follow; `text` for people."""

    word: str
    text: str


def check_run(workspace: Workspace, run: int, out: Path, environment: Mapping[str, str]) -> CheckedRun:
    """Checks the requests of a run of ci and reserves what they cost."""
    limits = load_limits(workspace.config)
    with open_repository(environment) as repository:
        waiting = waiting_run(repository, run)
        try:
            artifact = f"requests-{waiting.attempt}"
            raw = read_file(repository.get_workflow_run(run), artifact, request_file.NAME, environment)
            if raw is None:
                return CheckedRun("none", "The run asks for nothing.")
            asked_for = limits.authors == "all" or environment.get("GITHUB_EVENT_NAME") == "workflow_dispatch"
            if not asked_for and not may_write(repository, waiting.author):
                raise RefusedRequestsError(_STRANGER, remedy=_BY_HAND)
            allowed, new = check_requests(workspace, raw)
            dollars = sum(one.most_dollars for one in new)
            now = datetime.now(UTC)
            since = min(now.replace(hour=0, minute=0, second=0, microsecond=0), waiting.since.astimezone(UTC))
            ledger = spend_ledger.read_ledger(repository, since, environment)
            spend_ledger.require_budget(waiting, dollars, limits, ledger, now)
        except (RefusedRequestsError, UnusableArtifactError) as error:
            write_jsonl(out / answers_file.NAME, [answers_file.refusal(error)])
            return CheckedRun("refused", f"Refused, nothing was asked: {error}")
    write_jsonl(out / request_file.NAME, [one.request.model_dump(mode="json", exclude_unset=True) for one in allowed])
    write_json(out / spend_ledger.FILE, asdict(Spend(waiting.number, waiting.change, dollars)))
    return CheckedRun("ask", f"{len(allowed)} requests, {len(new)} of them new: {dollars:.4f} dollars at most.")


def ask_file(workspace: Workspace, file: Path | None, out: Path) -> str:
    """Asks the requests of a file, which is checked as if it came from anywhere."""
    path = file or out / request_file.NAME
    if not path.is_file():
        raise SluiceError(f"{path}: no such file", remedy="`sluice eval --replay` writes build/requests.jsonl")
    if path.stat().st_size > _MOST_FILE_BYTES:
        raise RefusedRequestsError(f"{request_file.NAME}: too large", remedy="ask for less")
    allowed, new = check_requests(workspace, path.read_bytes())
    lines, dollars, without = answer(workspace, allowed)
    write_jsonl(out / answers_file.NAME, lines)
    reserved = out / spend_ledger.FILE
    if file is None and reserved.exists():
        write_json(reserved, asdict(replace(Spend(**read_json(reserved)), dollars=dollars)))
    return f"{len(lines)} answers, {len(new)} asked anew for {dollars:.4f} dollars; {without} without an answer."
