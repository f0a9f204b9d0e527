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

if TYPE_CHECKING:
    from github.GithubException import GithubException
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


def publish_release(
    tag: str, notes: str, files: Mapping[str, bytes], environment: Mapping[str, str], *, commit: str
) -> CommentResult:
    """Make or complete the GitHub Release of a tag."""
    from github.GithubObject import NotSet

    with open_repository(environment) as repository:
        body = cut(notes, LIMIT)
        found = _find(repository, tag)
        if not found:
            on = commit if re.fullmatch(r"[0-9a-f]{40}", commit) else NotSet
            repository.create_git_release(tag, tag, body, draft=True, target_commitish=on)
            found = _find(repository, tag)
        release = _one(found)
        sent = _send(release, files)
        if changes := release.draft or release.body != body:
            release.update_release(tag, body, draft=False, make_latest="true")
        return CommentResult(
            "release published" if changes or sent else "release was published before", release.html_url
        )


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
