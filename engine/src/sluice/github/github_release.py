"""A GitHub Release: created once, completed after an interrupted run, left unchanged when complete.

It is a draft until its last file is uploaded, so that people never see an incomplete release.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from sluice.github.github_client import open_repository, require_safe
from sluice.github.marked_text import CommentResult

if TYPE_CHECKING:
    from github.GitRelease import GitRelease
    from github.Repository import Repository

LIMIT = 120_000
_CUT = "\n\n_The rest did not fit._\n"


def publish_release(
    tag: str, notes: str, files: Mapping[str, bytes], environment: Mapping[str, str], *, commit: str
) -> CommentResult:
    """Makes the release that is named by `tag`. What is there already stays; what is missing is added."""
    from github.GithubObject import NotSet

    with open_repository(environment) as repository:
        body = notes if len(notes) <= LIMIT else notes[: notes.rfind("\n", 0, LIMIT - len(_CUT))] + _CUT
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
    """Releases of this tag, drafts among them, oldest first. By its tag GitHub finds no draft."""
    return sorted((one for one in repository.get_releases() if one.tag_name == tag), key=lambda one: one.id)


def _one(found: list[GitRelease]) -> GitRelease:
    """The one that is published, else the oldest draft. Further drafts, of a request that was carried out although its
    answer got lost, are removed."""
    from github import UnknownObjectException

    chosen = next((one for one in found if not one.draft), found[0])
    for other in found:
        if other.draft and other.id != chosen.id:
            with suppress(UnknownObjectException):
                other.delete_release()
    return chosen


def _send(release: GitRelease, files: Mapping[str, bytes]) -> bool:
    """Sends what is not there whole; whether there was anything to send."""
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
