"""Checks the requests of a ci run without a key: who asks, what main's settings allow, and what it can cost at most."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from sluice.core.atomic_files import write_json, write_jsonl
from sluice.core.workspace import Workspace
from sluice.evaluation.replay import response_key
from sluice.evaluation.response_cache import FOLDER, ResponseCache
from sluice.extras.hosted.actions_runs import (
    BY_HAND,
    MainRuns,
    UnusableArtifactError,
    is_of_writers,
    newer_run,
    read_file,
    waiting_run,
)
from sluice.extras.hosted.request_file import (
    NAME,
    HostedLimits,
    ProviderRequest,
    RefusedRequestsError,
    load_limits,
    read_requests,
)
from sluice.extras.hosted.spend_ledger import SPEND, Spend, read_ledger, require_budget
from sluice.github.github_client import open_repository
from sluice.github.workflow_run import this_run
from sluice.llm.model_files import Models
from sluice.llm.settings import ProviderSpec, RemoteSpec, load_providers

if TYPE_CHECKING:
    from github.WorkflowRun import WorkflowRun

ANSWERS = "answers.jsonl"
_REFUSAL = b'{"refused":'  # how a file of answers begins that has none


@dataclass(frozen=True)
class AllowedRequest:
    """A request and the entry of config/providers.yaml that answers it."""

    request: ProviderRequest
    spec: RemoteSpec
    longest: int  # answer that a request may ask for: counted where the model isn't told how long its own may be

    @property
    def _output_tokens(self) -> int:
        return self.longest if "max_tokens" in self.spec.omit else self.request.parameters.max_tokens

    @property
    def most_tokens(self) -> int:
        """An upper bound: each attempt may be paid for."""
        return (self.spec.retries + 1) * (self.request.size + self._output_tokens)

    @property
    def most_dollars(self) -> float:
        prices, attempts = self.spec.prices, self.spec.retries + 1
        each = self.request.size * prices.input + self._output_tokens * prices.output
        return attempts * each / 1_000_000


def check_requests(workspace: Workspace, raw: bytes) -> tuple[list[AllowedRequest], list[AllowedRequest]]:
    limits = load_limits(workspace.config)
    providers = load_providers(workspace.config / "providers.yaml", roles=Models.roles())
    specs = (*providers.chat, *providers.judge)
    requests = read_requests(raw, limits)
    found = [
        AllowedRequest(request, _asked(number, request, specs), limits.output_tokens)
        for number, request in enumerate(requests, 1)
    ]
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


def _ended(run: WorkflowRun, answered: Sequence[WorkflowRun], limits: HostedLimits, token: Mapping[str, str]) -> str:
    """Return why a run isn't answered unless a person wants it, or ""."""
    if run.run_attempt > limits.rounds:
        return f"the run had {limits.rounds} rounds, as many as allowed."
    last = read_file(answered[0], f"answers-{run.id}", ANSWERS, token) if answered else None
    refused = last is not None and last.startswith(_REFUSAL)
    return "the run was refused already. Push, or start answer-requests by hand." if refused else ""


def _requests(run: WorkflowRun, attempts: Iterable[int], token: Mapping[str, str]) -> bytes | None:
    files = (read_file(run, f"requests-{attempt}", NAME, token) for attempt in attempts)
    return next((file for file in files if file is not None), None)


def check_run(workspace: Workspace, number: int, out: Path, environment: Mapping[str, str]) -> tuple[str, str]:
    """Return `ask`, `refused` or `none`, and why."""
    limits, by_hand = load_limits(workspace.config), environment.get("GITHUB_EVENT_NAME") == BY_HAND
    with open_repository(environment) as repository:
        run = waiting_run(repository, number)
        main = MainRuns(repository)
        found = main.that_published(f"answers-{number}")
        answered = [one for one in found if one.id != this_run(environment)[0]]
        if newer := newer_run(repository, run):
            return "none", f"Nothing was asked: run {newer} compares what was pushed since."
        if not by_hand and (why := _ended(run, answered, limits, environment)):
            return "none", f"Nothing was asked: {why}"
        try:
            # A refused run has no requests: who answers it by hand means those that were refused.
            attempts = range(run.run_attempt, 0, -1) if by_hand else [run.run_attempt]
            if (raw := _requests(run, attempts, environment)) is None:
                return "none", "The run asks for nothing."
            by_hand = by_hand or any(one.event == BY_HAND for one in answered)  # its later rounds too
            trusted = by_hand or limits.authors == "all"
            if not trusted and not is_of_writers(repository, run):
                remedy = "a maintainer can start answer-requests by hand, with the number of the run"
                raise RefusedRequestsError("its author may not write to the repository", remedy=remedy)
            allowed, new = check_requests(workspace, raw)
            change = f"{run.head_repository.full_name}:{run.head_branch}"
            now = datetime.now(UTC)
            wanted = Spend(number, change, sum(one.most_dollars for one in new), now.date().isoformat())
            require_budget(wanted, limits, read_ledger(main, now, environment))
        except (RefusedRequestsError, UnusableArtifactError) as error:
            write_jsonl(out / ANSWERS, [{"refused": str(error)}])
            return "refused", f"Refused, nothing was asked: {error}"
    write_jsonl(out / NAME, [one.request.model_dump(mode="json", exclude_unset=True) for one in allowed])
    write_json(out / SPEND, asdict(wanted))
    return "ask", f"{len(allowed)} requests, {len(new)} of them new: {wanted.dollars:.4f} dollars at most."
