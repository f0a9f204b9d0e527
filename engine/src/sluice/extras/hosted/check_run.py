"""Checks the requests of a ci run without a key: who asks, what main's settings allow, and what it can cost at most.

Only artifacts of answer-requests.yml on the default branch are trusted: GitHub says which run made an artifact, and no
other run can add to it (engine/docs/decisions/keyless-pull-requests.md). A run of a pull request is trusted only for
what GitHub says about it.

Costs are kept as artifacts of the runs that asked: `spend-reserved-N` before attempt N, `spend-used-N` after. The
workflow's concurrency group serialises the runs. A run that dies between the two has spent what it had reserved.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from sluice.core.atomic_files import write_json, write_jsonl
from sluice.core.errors import SluiceError
from sluice.core.workspace import Workspace
from sluice.evaluation.replay import response_key
from sluice.evaluation.response_cache import FOLDER, ResponseCache
from sluice.extras.hosted.request_file import (
    NAME,
    HostedLimits,
    ProviderRequest,
    RefusedRequestsError,
    load_limits,
    read_requests,
)
from sluice.github.github_client import open_repository, refusals
from sluice.github.workflow_run import this_run
from sluice.llm.model_files import Models
from sluice.llm.settings import ProviderSpec, RemoteSpec, load_providers

if TYPE_CHECKING:
    from github.Repository import Repository
    from github.WorkflowRun import WorkflowRun

ANSWERS = "answers.jsonl"
ANSWERING = "answer-requests.yml"
_COMPARING = ".github/workflows/ci.yml"
_WRITERS = ("admin", "maintain", "write")
_STARTED_BY = ("workflow_run", "workflow_dispatch")
_MOST_BYTES = 256 << 20
SPEND = "spend.json"


class UnusableArtifactError(SluiceError):
    """An artifact is not one file of the expected name and size."""


def waiting_run(repository: Repository, number: int) -> WorkflowRun:
    """Return a completed ci run of a pull request."""
    run = repository.get_workflow_run(number)
    what = f"run {number}"
    if run.path.partition("@")[0] != _COMPARING or run.event != "pull_request":
        raise SluiceError(f"{what}: not a run of ci for a pull request", remedy="use the number from its address")
    if run.status != "completed":
        raise SluiceError(f"{what}: has not finished", remedy="wait for it")
    if not run.head_repository:
        raise SluiceError(
            f"{what}: its repository no longer exists", remedy="open the pull request from another repository"
        )
    return run


def runs_of_main(repository: Repository, since: datetime) -> Iterator[WorkflowRun]:
    """Yield the runs of answer-requests.yml on the default branch, latest first."""
    branch, name = repository.default_branch, repository.full_name
    created = f">={since.strftime('%Y-%m-%dT%H:%M:%SZ')}"
    for run in repository.get_workflow(ANSWERING).get_runs(branch=branch, created=created):
        here = run.head_repository.full_name == name and run.head_branch == branch and run.created_at >= since
        if here and run.event in _STARTED_BY and run.path.partition("@")[0] == f".github/workflows/{ANSWERING}":
            yield run


def read_file(run: WorkflowRun, artifact: str, name: str, environment: Mapping[str, str]) -> bytes | None:
    """Return the only file of an artifact, or `None` if the run has no such artifact."""
    for found in run.get_artifacts():
        if found.name == artifact and not found.expired:
            if found.size_in_bytes > _MOST_BYTES:
                raise UnusableArtifactError(f"artifact {artifact}: too large")
            if not found.archive_download_url.startswith(f"{run.url.rpartition('/runs/')[0]}/"):  # it gets the token
                raise UnusableArtifactError(f"artifact {artifact}: at another address than its run")
            archive = _downloaded(found.archive_download_url, environment["GITHUB_TOKEN"])
            return _only_file(archive, artifact, name, found.digest)
    return None


def _downloaded(url: str, token: str) -> bytes:
    """Download an archive. GitHub redirects to storage, where requests drops the token."""
    import requests

    headers = {"Authorization": f"Bearer {token}"}
    with refusals(), requests.get(url, headers=headers, stream=True, timeout=60) as answer:
        answer.raise_for_status()
        raw = bytearray()
        for block in answer.iter_content(1 << 20):
            raw += block
            if len(raw) > _MOST_BYTES:
                raise UnusableArtifactError("an artifact: too large")
    return bytes(raw)


def _only_file(archive: bytes, artifact: str, name: str, digest: str | None) -> bytes:
    """Read the file in memory: nothing is unpacked, so a path in the archive leads nowhere."""
    if digest and digest != f"sha256:{hashlib.sha256(archive).hexdigest()}":
        raise UnusableArtifactError(f"artifact {artifact}: damaged", remedy="run the job again")
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as opened:
            members = opened.infolist()
            if len(members) != 1 or members[0].filename != name:
                raise UnusableArtifactError(f"artifact {artifact}: holds more than {name}")
            with opened.open(members[0]) as stream:
                raw = stream.read(_MOST_BYTES + 1)
    except (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError, EOFError, ValueError):
        raise UnusableArtifactError(f"artifact {artifact}: not an archive") from None
    if len(raw) > _MOST_BYTES:
        raise UnusableArtifactError(f"artifact {artifact}: {name} is too large")
    return raw


@dataclass(frozen=True)
class Spend:
    """The dollars that a ci run's requests cost, or may cost. `change` is its repository and branch."""

    run: int
    change: str
    dollars: float


def read_ledger(
    repository: Repository, since: datetime, environment: Mapping[str, str]
) -> list[tuple[datetime, Spend]]:
    """Return the entries since a time, each with its run's time, without this attempt's own."""
    entries, here = [], this_run(environment)
    for run in runs_of_main(repository, since):
        for attempt in range(1, run.run_attempt + 1) if run.conclusion != "skipped" else ():
            if (run.id, attempt) == here:
                continue
            raw = read_file(run, f"spend-used-{attempt}", SPEND, environment)
            raw = raw or read_file(run, f"spend-reserved-{attempt}", SPEND, environment)
            if raw is not None:
                try:
                    entries.append((run.created_at, Spend(**json.loads(raw))))
                except (ValueError, TypeError):
                    raise SluiceError(f"run {run.id}: {SPEND} is not an entry", remedy="look at its artifact") from None
    return entries


def require_budget(wanted: Spend, limits: HostedLimits, entries: list[tuple[datetime, Spend]], now: datetime) -> None:
    rounds = sum(spend.run == wanted.run for _, spend in entries)
    if rounds >= limits.rounds:
        remedy = "push again, or raise `rounds` in config/hosted.yaml of main"
        raise RefusedRequestsError(f"the run was answered {rounds} times, as often as allowed", remedy=remedy)
    today = [spend for at, spend in entries if at.astimezone(UTC).date() == now.date()]
    of_change = sum(spend.dollars for spend in today if spend.change == wanted.change)
    for name, spent, most in (
        ("dollars_per_change", of_change, limits.dollars_per_change),
        ("dollars_per_day", sum(spend.dollars for spend in today), limits.dollars_per_day),
    ):
        if spent + wanted.dollars > most:
            what = f"{wanted.dollars:.2f} dollars at most, and {spent:.2f} were spent today, of {most:.2f}"
            remedy = f"start answer-requests by hand tomorrow, or raise `{name}` in config/hosted.yaml of main"
            raise RefusedRequestsError(what, remedy=remedy)


@dataclass(frozen=True)
class AllowedRequest:
    """A request and the entry of config/providers.yaml that answers it."""

    request: ProviderRequest
    spec: RemoteSpec

    @property
    def most_tokens(self) -> int:
        """An upper bound: each attempt may be paid for."""
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


def check_run(workspace: Workspace, number: int, out: Path, environment: Mapping[str, str]) -> tuple[str, str]:
    """Return `ask`, `refused` or `none`, and why."""
    limits = load_limits(workspace.config)
    with open_repository(environment) as repository:
        run = waiting_run(repository, number)
        try:
            raw = read_file(run, f"requests-{run.run_attempt}", NAME, environment)
            if raw is None:
                return "none", "The run asks for nothing."
            asked_for = limits.authors == "all" or environment.get("GITHUB_EVENT_NAME") == "workflow_dispatch"
            if not asked_for and repository.get_collaborator_permission(run.actor.login) not in _WRITERS:
                remedy = "a maintainer can start answer-requests by hand, with the number of the run"
                raise RefusedRequestsError("the author may not write to the repository", remedy=remedy)
            allowed, new = check_requests(workspace, raw)
            change = f"{run.head_repository.full_name}:{run.head_branch}"
            wanted = Spend(number, change, sum(one.most_dollars for one in new))
            now = datetime.now(UTC)
            since = min(now.replace(hour=0, minute=0, second=0, microsecond=0), run.created_at.astimezone(UTC))
            require_budget(wanted, limits, read_ledger(repository, since, environment), now)
        except (RefusedRequestsError, UnusableArtifactError) as error:
            write_jsonl(out / ANSWERS, [{"refused": str(error)}])
            return "refused", f"Refused, nothing was asked: {error}"
    write_jsonl(out / NAME, [one.request.model_dump(mode="json", exclude_unset=True) for one in allowed])
    write_json(out / SPEND, asdict(wanted))
    return "ask", f"{len(allowed)} requests, {len(new)} of them new: {wanted.dollars:.4f} dollars at most."
