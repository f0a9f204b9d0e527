"""The repository of a run on GitHub, through PyGithub, and its GitHub Releases."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.parse import quote, urlsplit
from urllib.request import Request, urlopen

from sluice.core.errors import SluiceError
from sluice.github.workflow_run import this_run

if TYPE_CHECKING:
    from github.GithubException import GithubException
    from github.GitRef import GitRef
    from github.GitRelease import GitRelease
    from github.Repository import Repository

# Who GITHUB_TOKEN writes as.
BOT = "github-actions[bot]"
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_RETRIES = 3
_LONGEST_PAUSE_S = 60
_TIMEOUT_S = 30
_REMEDIES = {410: "switch issues on: Settings, General, Features"}
LIMIT = 120_000
# Answers to a token without the right `workflows`, which no job has; 422 where a rule about tags says no.
_REFUSED = (403, 404, 422)


class GitHubStatusError(SluiceError):
    """A refusal by GitHub. `status` is that of HTTP; 429 for every rate limit, which GitHub calls 403 too."""

    def __init__(self, error: GithubException) -> None:
        from github import RateLimitExceededException

        said = error.data if isinstance(error.data, dict) else {}
        page = said.get("documentation_url")
        remedy = _REMEDIES.get(error.status, "check the rights of GITHUB_TOKEN") + (f"; {page}" if page else "")
        super().__init__(f"GitHub answers {error.status}: {error.message or said.get('message')}", remedy=remedy)
        self.status = 429 if isinstance(error, RateLimitExceededException) else error.status


@dataclass(frozen=True)
class CommentResult:
    """The `url` of a comment, or None and a message."""

    message: str
    url: str | None = None


@contextmanager
def open_repository(environment: Mapping[str, str]) -> Iterator[Repository]:
    """Open the repository of GITHUB_REPOSITORY without asking for it.

    Server errors, rate limits and lost connections are tried four times in all."""
    from github import Auth, Github, GithubRetry

    token = needed(environment, "GITHUB_TOKEN", "give the step env: GITHUB_TOKEN: ${{ github.token }}")
    name = needed(environment, "GITHUB_REPOSITORY")
    url = environment.get("GITHUB_API_URL") or "https://api.github.com"
    require_safe("GITHUB_API_URL", url)
    retry = GithubRetry(
        total=_RETRIES,
        backoff_factor=1,
        status_forcelist=[429, *range(500, 600)],
        allowed_methods=None,  # all: before a write is repeated, the caller looks for what the first one did
        raise_on_status=False,
        retry_after_max=_LONGEST_PAUSE_S,
        max_rate_limit_wait=_LONGEST_PAUSE_S,
    )
    auth, version = Auth.Token(token), "2022-11-28"
    client = Github(auth=auth, base_url=url.rstrip("/"), per_page=100, retry=retry, api_version=version)
    try:
        with refusals():
            yield client.get_repo(name, lazy=True)
    finally:
        client.close()


@contextmanager
def refusals() -> Iterator[None]:
    """Turn errors of PyGithub into GitHubStatusError and SluiceError."""
    from github import GithubException
    from requests import RequestException

    try:
        yield
    except GithubException as error:
        raise GitHubStatusError(error) from None
    except RequestException as error:
        raise SluiceError(f"no answer from GitHub: {type(error).__name__}: {error}") from None


def needed(environment: Mapping[str, str], name: str, remedy: str = "") -> str:
    """Return the value of a variable; SluiceError if it is not set."""
    if value := environment.get(name):
        return value
    raise SluiceError(f"{name} is not set", remedy=remedy or "GitHub Actions sets it; run this in a workflow")


def require_safe(name: str, url: str) -> None:
    """Refuse an address that would get the token unencrypted."""
    parts = urlsplit(url)
    if parts.scheme != "https" and parts.hostname not in _LOOPBACK:
        raise SluiceError(f"{name}: {url}: not https; the token is not sent there")


def ask_api(method: str, path: str, environment: Mapping[str, str], body: Any = None) -> Any:
    """Ask with the standard library alone, as steps do before anything is installed."""
    address = environment.get("GITHUB_API_URL") or "https://api.github.com"
    require_safe("GITHUB_API_URL", address)
    headers = {
        "Authorization": f"Bearer {needed(environment, 'GITHUB_TOKEN')}",
        "Accept": "application/vnd.github+json",
        "X-GitHub-Api-Version": "2022-11-28",
    }
    data = None if body is None else json.dumps(body).encode()
    request = Request(address.rstrip("/") + path, data=data, headers=headers, method=method)
    try:
        with urlopen(request, timeout=_TIMEOUT_S) as answer:
            return json.load(answer)
    except HTTPError as error:
        raise SluiceError(f"{method} {path}: GitHub answers {error.code}: {error.reason}") from None
    except (OSError, ValueError) as error:  # no connection, no answer in time, no JSON
        raise SluiceError(f"{method} {path}: no answer from GitHub: {error}") from None


def has_artifact(run: int, name: str, environment: Mapping[str, str]) -> bool:
    place = f"/repos/{needed(environment, 'GITHUB_REPOSITORY')}/actions/runs/{run}/artifacts"
    return bool(ask_api("GET", f"{place}?name={quote(name)}", environment)["artifacts"])


def ends_well(workflow: str, environment: Mapping[str, str]) -> bool:
    """Return whether the last run of a workflow that ended on this branch passed, on this commit."""
    place = f"/repos/{needed(environment, 'GITHUB_REPOSITORY')}/actions/workflows/{workflow}/runs"
    asked = f"branch={quote(needed(environment, 'GITHUB_REF_NAME'))}&status=completed&per_page=1"
    last = ask_api("GET", f"{place}?{asked}", environment)["workflow_runs"]
    return [(run["head_sha"], run["conclusion"]) for run in last] == [(needed(environment, "GITHUB_SHA"), "success")]


def cut(text: str, limit: int, where: str = "") -> str:
    """Return a text of at most `limit` characters, cut behind a line; `where` the rest is."""
    note = f"\n\n_The rest did not fit{where}._\n"
    return text if len(text) <= limit else text[: text.rfind("\n", 0, limit - len(note))] + note


def login_of(repository: Repository) -> str:
    """Return the login that the token writes as. An App, GITHUB_TOKEN too, may only ask GraphQL for it."""
    from github import GithubException

    try:
        return str(repository.requester.requestJsonAndCheck("GET", "/user")[1]["login"])
    except GithubException as error:
        if error.status != 403:
            raise
    try:
        return str(repository.requester.graphql_query("{ viewer { login } }", {})[1]["data"]["viewer"]["login"])
    except GithubException as error:
        if error.status not in (403, 404):
            raise
        return BOT


def why_unbegun(job: str, environment: Mapping[str, str]) -> str:
    """Return why no runner took a job of this run; empty if one did. Needs `actions: read`."""
    run, attempt = this_run(environment)
    with open_repository(environment) as repository:

        def ask(path: str) -> Any:
            url = f"/repos/{environment['GITHUB_REPOSITORY']}/actions/runs/{run}/{path}"
            return repository.requester.requestJsonAndCheck("GET", url)[1]

        jobs = ask(f"attempts/{attempt}/jobs?per_page=100")["jobs"]
        if any(one["runner_id"] for one in jobs if re.match(rf"{job}\b", one["name"])):
            return ""
        refused = [one for one in ask("approvals") if one["state"] == "rejected"]
        who = [f"{one['user']['login']} refused the deployment: {one['comment']}" for one in refused]
        return "; ".join(who) or f"{job} never began: nobody approved it, or its run was cancelled"


def publish_release(
    tag: str, notes: str, files: Mapping[str, bytes], environment: Mapping[str, str], *, commit: str, ours: bool = True
) -> CommentResult:
    """Make or complete the GitHub Release of a tag; one that is published keeps its notes.

    GitHub lets no workflow tag or release a commit whose workflow files differ from the default branch's, and that
    moves while a release is under way. A tag that is `ours` then gets a commit with the first file alone."""
    from github import GithubException

    with open_repository(environment) as repository:
        try:
            tagged = _tag(repository, tag, commit)
            return _publish(repository, tag, _where(tagged, commit) + notes, files)
        except GithubException as error:
            if error.status not in _REFUSED or not ours:
                raise
        tagged = _tag_files(repository, tag, dict(list(files.items())[:1]))
        return _publish(repository, tag, _where(tagged, commit) + notes, files)


def _where(tagged: str, commit: str) -> str:
    why = "GitHub lets no workflow tag a commit whose workflow files differ from the default branch's"
    return "" if tagged == commit else f"Made from commit {commit}. The tag holds the manifest alone: {why}.\n\n"


def _tagged(repository: Repository, tag: str) -> GitRef | None:
    found = repository.get_git_matching_refs(f"tags/{tag}")
    return next((ref for ref in found if ref.ref == f"refs/tags/{tag}"), None)


def _tag(repository: Repository, tag: str, commit: str) -> str:
    """Return the commit of a tag, which is made unless it is there."""
    from github import GithubException

    if there := _tagged(repository, tag):
        return there.object.sha
    try:
        repository.create_git_ref(f"refs/tags/{tag}", commit)
    except GithubException:
        if not (there := _tagged(repository, tag)):  # otherwise the first try's answer got lost
            raise
    return commit


def _tag_files(repository: Repository, tag: str, files: Mapping[str, bytes]) -> str:
    """Put the tag on a new commit of these files, without parents and without workflows."""
    from github import InputGitTreeElement

    texts = [InputGitTreeElement(name, "100644", "blob", content.decode()) for name, content in files.items()]
    made = repository.create_git_commit(f"Release {tag}", repository.create_git_tree(texts), [])
    if there := _tagged(repository, tag):
        there.edit(made.sha, force=True)
    else:
        repository.create_git_ref(f"refs/tags/{tag}", made.sha)
    return made.sha


def _publish(repository: Repository, tag: str, notes: str, files: Mapping[str, bytes]) -> CommentResult:
    body = cut(notes, LIMIT)
    found = _find(repository, tag)
    if not found:
        repository.create_git_release(tag, tag, body, draft=True)
        found = _find(repository, tag)
    release = _one(found)
    sent = _send(release, files)
    if draft := release.draft:
        release.update_release(tag, body, draft=False, make_latest="true")
    return CommentResult("release published" if draft or sent else "release was published before", release.html_url)


def _find(repository: Repository, tag: str) -> list[GitRelease]:
    """Return the releases of a tag, drafts too, oldest first. Asking by tag finds no draft."""
    return sorted((one for one in repository.get_releases() if one.tag_name == tag), key=lambda one: one.id)


def _one(found: list[GitRelease]) -> GitRelease:
    """Return the published one, else the oldest draft; remove doubles of requests whose answer got lost."""
    from github import UnknownObjectException

    chosen = next((one for one in found if not one.draft), found[0])
    for other in found:
        if other.draft and other.id != chosen.id:
            with suppress(UnknownObjectException):
                other.delete_release()
    return chosen


def _send(release: GitRelease, files: Mapping[str, bytes]) -> bool:
    """Upload what isn't there whole; False if there was nothing to upload."""
    from github import UnknownObjectException

    require_safe("upload_url", release.upload_url)
    there = {asset.name: asset for asset in release.assets}
    absent = [
        name
        for name, content in files.items()
        if name not in there or (there[name].state, there[name].size) != ("uploaded", len(content))
    ]
    for name in absent:
        if name in there:
            with suppress(UnknownObjectException):
                there[name].delete_asset()
        release.upload_asset_from_memory(io.BytesIO(files[name]), len(files[name]), name)
    return bool(absent)
