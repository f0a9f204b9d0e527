"""Runs of GitHub Actions and their artifacts: which run waits for answers, and what main has published.

Only artifacts of answer-requests.yml on the default branch are trusted: GitHub says which run made an artifact, and no
other run can add to it (engine/docs/decisions/keyless-pull-requests.md). A run of a pull request is trusted only for
what GitHub says about it.
"""

from __future__ import annotations

import hashlib
import io
import lzma
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING

from sluice.core.errors import SluiceError
from sluice.extras.hosted.request_file import RefusedRequestsError
from sluice.github.github_client import refusals

if TYPE_CHECKING:
    from github.Repository import Repository
    from github.WorkflowRun import WorkflowRun

ANSWERING = "answer-requests.yml"
BY_HAND = "workflow_dispatch"
COMPARING = "ci.yml"
_STARTED_BY = ("workflow_run", BY_HAND)
_TIME = "%Y-%m-%dT%H:%M:%SZ"
_MOST_LISTED = 1000  # that GitHub lists of a search, on ten pages
_WRITERS = ("admin", "maintain", "write")
# All that zipfile and its four ways of compressing raise.
_BROKEN = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, OSError, RuntimeError, EOFError, ValueError)
_MOST_BYTES = 256 << 20


class UnusableArtifactError(SluiceError):
    """An artifact is not one file of the expected name and size."""


def waiting_run(repository: Repository, number: int) -> WorkflowRun:
    """Return a completed ci run of a pull request."""
    run = repository.get_workflow_run(number)
    what = f"run {number}"
    if run.path.partition("@")[0] != f".github/workflows/{COMPARING}" or run.event != "pull_request":
        raise SluiceError(f"{what}: not a run of ci for a pull request", remedy="use the number from its address")
    if run.status != "completed":
        raise SluiceError(f"{what}: has not finished", remedy="wait for it")
    if not run.head_repository:
        raise SluiceError(
            f"{what}: its repository no longer exists", remedy="open the pull request from another repository"
        )
    return run


def newer_run(repository: Repository, run: WorkflowRun) -> int | None:
    """Return a later run of ci for the same branch, whose answers are those that count."""
    since = f">={run.created_at.strftime(_TIME)}"
    for other in repository.get_workflow(COMPARING).get_runs(branch=run.head_branch, event=run.event, created=since):
        here = other.head_repository and other.head_repository.full_name == run.head_repository.full_name
        if here and other.id > run.id and (other.head_sha != run.head_sha or _compares(other)):
            return other.id
    return None


def has_passed(repository: Repository, number: int) -> bool:
    """Return whether ci has passed for the commit of a run: that `required` would count while the run waits."""
    runs = repository.get_workflow(COMPARING).get_runs(head_sha=repository.get_workflow_run(number).head_sha)
    jobs = (job for run in runs for job in run.jobs("all"))
    return any(job.name == "required" and job.conclusion == "success" for job in jobs)


def rerun(run: WorkflowRun) -> bool:
    """Run the comparison of a ci run again, with what depends on it. While it waits, it may be no failed job."""
    job = next((job for job in run.jobs() if job.name == "eval"), None)
    if job is None or job.conclusion != "success":
        return run.rerun_failed_jobs()
    if run.conclusion != "success":  # GitHub repeats one job or those that failed, not both
        return run.rerun()
    return bool(run.requester.requestJson("POST", f"{job.url}/rerun")[0] == 201)


def _compares(run: WorkflowRun) -> bool:
    """Return whether the run is of a change: that of a new title or label skips its plan, or is cancelled before."""
    return any(job.name == "plan" and job.conclusion not in ("skipped", "cancelled") for job in run.jobs())


def is_of_writers(repository: Repository, run: WorkflowRun) -> bool:
    """Return whether who made the change may write here. Who started its run has perhaps only updated the branch."""
    head = run.head_repository
    if head.full_name == repository.full_name:  # who has pushed a branch here may write, an app too
        return True
    pulls = repository.get_pulls(state="open", head=f"{head.owner.login}:{run.head_branch}")
    openers = {pull.user.login for pull in pulls if pull.head.repo and pull.head.repo.full_name == head.full_name}
    return bool(openers) and all(_may_write(repository, login) for login in {head.owner.login, *openers})


def _may_write(repository: Repository, login: str) -> bool:
    from github import UnknownObjectException

    try:
        return repository.get_collaborator_permission(login) in _WRITERS
    except UnknownObjectException:  # an app, or an organisation
        return False


class MainRuns:
    """The runs of answer-requests.yml on the default branch: of a commit that is there, so not of a tag of its name."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._known: dict[str, bool] = {}

    def since(self, time: datetime) -> Iterator[WorkflowRun]:
        branch, created = self._repository.default_branch, f">={time.strftime(_TIME)}"
        runs = [*self._repository.get_workflow(ANSWERING).get_runs(branch=branch, created=created)]
        if len(runs) >= _MOST_LISTED:
            what = f"GitHub lists no more than {_MOST_LISTED} runs, so what was spent is not known"
            raise RefusedRequestsError(what, remedy="start answer-requests by hand tomorrow")
        return (run for run in runs if run.created_at >= time and self._has(run))

    def that_published(self, artifact: str) -> Iterator[WorkflowRun]:
        """Yield the runs that have an artifact, latest first."""
        makers = [one.workflow_run for one in self._repository.get_artifacts(artifact)]
        numbers = {run.id for run in makers if run.head_branch == self._repository.default_branch}
        runs = (self._repository.get_workflow_run(number) for number in sorted(numbers, reverse=True))
        return (run for run in runs if self._has(run))

    def _has(self, run: WorkflowRun) -> bool:
        here = run.head_repository and run.head_repository.full_name == self._repository.full_name
        if not here or run.head_branch != self._repository.default_branch or run.event not in _STARTED_BY:
            return False
        return run.path.partition("@")[0] == f".github/workflows/{ANSWERING}" and self._is_there(run.head_sha)

    def _is_there(self, commit: str) -> bool:
        from github import UnknownObjectException

        if commit not in self._known:
            try:
                compared = self._repository.compare(self._tip, commit, comparison_commits_per_page=1)
                self._known[commit] = compared.status in ("identical", "behind")
            except UnknownObjectException:
                self._known[commit] = False
        return self._known[commit]

    @cached_property
    def _tip(self) -> str:
        return self._repository.get_branch(self._repository.default_branch).commit.sha


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
    except _BROKEN:
        raise UnusableArtifactError(f"artifact {artifact}: not an archive") from None
    if len(raw) > _MOST_BYTES:
        raise UnusableArtifactError(f"artifact {artifact}: {name} is too large")
    return raw
