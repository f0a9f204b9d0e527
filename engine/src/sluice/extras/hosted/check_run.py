"""Checks the requests of a run of ci without a key: who asks, what main's settings allow, and what it can cost at most.

Nothing is asked before all of it is known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from sluice.core.atomic_files import write_json, write_jsonl
from sluice.core.workspace import Workspace
from sluice.evaluation.replay import response_key
from sluice.evaluation.response_cache import FOLDER, ResponseCache
from sluice.extras.hosted.answers_file import NAME as ANSWERS
from sluice.extras.hosted.published import (
    SPEND,
    Spend,
    UnusableArtifactError,
    may_write,
    read_file,
    read_ledger,
    require_budget,
    waiting_run,
)
from sluice.extras.hosted.request_file import NAME, ProviderRequest, RefusedRequestsError, load_limits, read_requests
from sluice.github.github_client import open_repository
from sluice.llm.model_files import Models
from sluice.llm.settings import ProviderSpec, RemoteSpec, load_providers

_STRANGER = "the author may not write to the repository"
_BY_HAND = "a maintainer can start answer-requests by hand, with the number of the run"


@dataclass(frozen=True)
class AllowedRequest:
    """A request, and the entry of config/providers.yaml that answers it."""

    request: ProviderRequest
    spec: RemoteSpec

    @property
    def most_tokens(self) -> int:
        """Of all attempts: each of them may be paid for."""
        return (self.spec.retries + 1) * (self.request.size + self.request.parameters.max_tokens)

    @property
    def most_dollars(self) -> float:
        prices, attempts = self.spec.prices, self.spec.retries + 1
        each = self.request.size * prices.input + self.request.parameters.max_tokens * prices.output
        return attempts * each / 1_000_000


def check_requests(workspace: Workspace, raw: bytes) -> tuple[list[AllowedRequest], list[AllowedRequest]]:
    limits = load_limits(workspace.config)
    providers = load_providers(workspace.config / "providers.yaml", roles=Models.roles())
    specs = (*providers.chat, *providers.judge)
    requests = read_requests(raw, limits)
    found = [AllowedRequest(request, _asked(number, request, specs)) for number, request in enumerate(requests, 1)]
    cache = ResponseCache(workspace.state / FOLDER)
    new = [one for one in found if cache.get(one.request.digest) is None]
    if sum(one.most_tokens for one in new) > limits.tokens:
        remedy = "ask for less, or raise `tokens` in config/hosted.yaml of main"
        raise RefusedRequestsError(f"{NAME}: may take more than {limits.tokens} tokens", remedy=remedy)
    return found, new


def _asked(number: int, request: ProviderRequest, specs: Sequence[ProviderSpec]) -> RemoteSpec:
    messages, parameters = request.asked()
    named = [spec for spec in specs if spec.name == request.provider and isinstance(spec, RemoteSpec)]
    for spec in named:
        if response_key(spec, messages, parameters, request.trial) == request.digest:
            return spec
    what = "another digest than main's settings make of it" if named else "not a hosted model of main"
    remedy = "a new or changed entry is merged in reserve first, behind those that answer"
    raise RefusedRequestsError(f"{NAME}: line {number}: {what} (config/providers.yaml)", remedy=remedy)


class CheckedRun(NamedTuple):
    """`word`: ask, refused or none, for the steps that follow; `text` for people."""

    word: str
    text: str


def check_run(workspace: Workspace, run: int, out: Path, environment: Mapping[str, str]) -> CheckedRun:
    limits = load_limits(workspace.config)
    with open_repository(environment) as repository:
        waiting = waiting_run(repository, run)
        try:
            artifact = f"requests-{waiting.attempt}"
            raw = read_file(repository.get_workflow_run(run), artifact, NAME, environment)
            if raw is None:
                return CheckedRun("none", "The run asks for nothing.")
            asked_for = limits.authors == "all" or environment.get("GITHUB_EVENT_NAME") == "workflow_dispatch"
            if not asked_for and not may_write(repository, waiting.author):
                raise RefusedRequestsError(_STRANGER, remedy=_BY_HAND)
            allowed, new = check_requests(workspace, raw)
            dollars = sum(one.most_dollars for one in new)
            now = datetime.now(UTC)
            since = min(now.replace(hour=0, minute=0, second=0, microsecond=0), waiting.since.astimezone(UTC))
            ledger = read_ledger(repository, since, environment)
            require_budget(waiting, dollars, limits, ledger, now)
        except (RefusedRequestsError, UnusableArtifactError) as error:
            write_jsonl(out / ANSWERS, [{"refused": str(error)}])
            return CheckedRun("refused", f"Refused, nothing was asked: {error}")
    write_jsonl(out / NAME, [one.request.model_dump(mode="json", exclude_unset=True) for one in allowed])
    write_json(out / SPEND, asdict(Spend(waiting.number, waiting.change, dollars)))
    return CheckedRun("ask", f"{len(allowed)} requests, {len(new)} of them new: {dollars:.4f} dollars at most.")
