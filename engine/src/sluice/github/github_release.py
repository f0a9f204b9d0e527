"""A GitHub Release: created once, completed after an interrupted run, left unchanged when complete.

It is a draft until its last file is uploaded, so that people never see an incomplete release.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from time import sleep as wait
from typing import Any

from sluice.core.errors import SluiceError
from sluice.github.github_api import GitHub, GitHubStatusError
from sluice.github.pull_request_comment import CommentResult

LIMIT = 120_000
_CUT = "\n\n_The rest did not fit._\n"


def publish_release(
    tag: str,
    notes: str,
    files: Mapping[str, bytes],
    environment: Mapping[str, str],
    *,
    commit: str,
    sleep: Callable[[float], None] = wait,
) -> CommentResult:
    """Makes the release that is named by `tag`, with these files, on a commit. Notes are written anew where they
    differ; a file that is there whole is not sent again. Everything that GitHub refuses is a SluiceError."""
    repository = environment.get("GITHUB_REPOSITORY")
    if not repository:
        raise SluiceError("GITHUB_REPOSITORY is not set", remedy="GitHub Actions sets it; run this in a workflow")
    with GitHub(environment, sleep=sleep) as github:
        path = f"/repos/{repository}/releases"
        found = _find(github, path, tag)
        if not found:
            # A tag that is there stays where it is; GitHub makes one that is not when the release is published.
            on = {"target_commitish": commit} if re.fullmatch(r"[0-9a-f]{40}", commit) else {}
            github.call("POST", path, {"tag_name": tag, "name": tag, "body": _body(notes), "draft": True, **on})
            found = _find(github, path, tag)
        release = _one(github, path, found)
        changes: dict[str, Any] = {} if release.get("body") == _body(notes) else {"body": _body(notes)}
        sent = _send(github, path, release, files)
        if release["draft"]:
            changes |= {"draft": False, "make_latest": "true"}
        if changes:
            release = github.call("PATCH", f"{path}/{release['id']}", changes)
        return CommentResult(
            "release published" if changes or sent else "release was published before", release["html_url"]
        )


def _find(github: GitHub, path: str, tag: str) -> list[dict[str, Any]]:
    """Releases of this tag, drafts among them, oldest first. By its tag GitHub finds no draft."""
    return sorted((one for one in github.listed(path) if one["tag_name"] == tag), key=lambda one: int(one["id"]))


def _one(github: GitHub, path: str, found: list[dict[str, Any]]) -> dict[str, Any]:
    """The one that is published, else the oldest draft. Further drafts, of a request that was carried out although its
    answer got lost, are removed."""
    chosen = next((one for one in found if not one["draft"]), found[0])
    for other in found:
        if other["draft"] and other["id"] != chosen["id"]:
            _delete(github, f"{path}/{other['id']}")
    return chosen


def _send(github: GitHub, path: str, release: Mapping[str, Any], files: Mapping[str, bytes]) -> bool:
    """Sends what is not there whole; whether there was anything to send."""
    there = {asset["name"]: asset for asset in release.get("assets") or ()}
    address = str(release["upload_url"]).partition("{")[0]
    absent = {name: content for name, content in files.items() if not _whole(there.get(name), content)}
    for name, content in absent.items():
        if name in there:
            _delete(github, f"{path}/assets/{there[name]['id']}")
        github.upload(f"{address}?name={name}", content)
    return bool(absent)


def _whole(asset: Mapping[str, Any] | None, content: bytes) -> bool:
    return asset is not None and asset.get("state") == "uploaded" and asset.get("size") == len(content)


def _delete(github: GitHub, path: str) -> None:
    try:
        github.call("DELETE", path)
    except GitHubStatusError as error:
        if error.status != 404:
            raise


def _body(notes: str) -> str:
    return notes if len(notes) <= LIMIT else notes[: notes.rfind("\n", 0, LIMIT - len(_CUT))] + _CUT
