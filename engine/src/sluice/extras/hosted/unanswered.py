"""What `sluice eval` ends with where responses of hosted models are missing: their requests are written down, and on
GitHub the verdict waits for answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sluice.core.atomic_files import read_json
from sluice.core.errors import GateFailed, SluiceError
from sluice.core.workspace import Workspace
from sluice.evaluation.response_cache import FOLDER, MISSING, ResponseCache
from sluice.extras.hosted.answers_file import REFUSED
from sluice.extras.hosted.limits import load_limits
from sluice.extras.hosted.request_file import NAME, write_requests
from sluice.github.workflow_run import this_run


class AnswersAwaitedError(SluiceError):
    """No verdict yet: answer-requests.yml answers and starts the job again. GitHub knows no job that ended neutral, so
    the job is red and no other; its comment says why."""

    exit_code = 4


def unanswered(comparison: Any, environment: Mapping[str, str]) -> SluiceError | None:
    """Writes build/requests.jsonl after a comparison that called no model."""
    workspace = Workspace.find()
    written = workspace.build / NAME
    written.unlink(missing_ok=True)
    if not comparison.replayed or comparison.comparison is None:
        return None
    cache = ResponseCache(workspace.state / FOLDER)
    noted = [read_json(path) for path in sorted((cache.folder / MISSING).glob("*.json"))]
    requests = [one for one in noted if cache.get(one["digest"]) is None]
    if not requests:
        return None
    write_requests(written, requests)
    run, attempt = this_run(environment)
    if not run:
        return None
    count = f"{len(requests)} request{'s' * (len(requests) > 1)}"
    refused = workspace.state / REFUSED
    if refused.exists():
        return GateFailed("Not evaluated: the requests were refused", remedy=refused.read_text(encoding="utf-8"))
    rounds = load_limits(workspace.config).rounds
    if attempt > rounds:
        what = f"Not evaluated: {count} without an answer after {rounds} rounds"
        remedy = "A question that asks a model in a longer chain needs more `rounds` in config/hosted.yaml of main. "
        return GateFailed(what, remedy=f"{remedy}What failed is in the log of answer-requests; push to try again.")
    remedy = f"{count} to hosted models, round {attempt} of {rounds} at most: this job has no key. The workflow "
    remedy += "`answer-requests` of the default branch asks them and runs this job again; this comment changes then. "
    return AnswersAwaitedError("Waiting for answers", remedy=f"{remedy}Nothing was found against the change so far.")
