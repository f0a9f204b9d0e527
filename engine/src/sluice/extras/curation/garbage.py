"""Removes old versions of the data from a remote, and nothing that anybody may still need.

Removed is what belonged to a version that data.dvc once named and that is needed no more, and what a killed push left
half written. Needed are the version of the working tree, those at the tip of every branch and tag, those of every
release that is kept, and every version in the remote that the history here does not know: somebody else may be about
to commit it. In doubt nothing is removed.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from sluice.core import git
from sluice.core.digests import digest_of
from sluice.core.errors import Faults, SluiceError
from sluice.core.workspace import Workspace
from sluice.data.remote import POINTER, Entry, Objects, open_places, version_here, version_of

_OBJECT = re.compile(r"[0-9a-f]{32}(\.dir)?")


@dataclass(frozen=True)
class KeptRelease:
    """A release that may be served again. `digest`: of its data, as its manifest pins it."""

    id: str
    commit: str
    digest: str


@dataclass(frozen=True)
class Collected:
    """`versions`: why each version is needed. `removable`: objects, removed where `deleted`. `unknown`: objects that
    belong to no version of the data known here, which stay."""

    remote: str
    versions: dict[str, str]
    removable: tuple[str, ...]
    unknown: int
    deleted: bool


@dataclass
class _Versions:
    """Versions by their object, read once each from the cache or the remote."""

    places: Sequence[Objects]
    _entries: dict[str, list[Entry]] = field(default_factory=dict)
    _digests: dict[str, str] = field(default_factory=dict)

    def entries(self, version: str) -> list[Entry]:
        if version not in self._entries:
            self._entries[version] = self._from(version).entries(version)
        return self._entries[version]

    def oids(self, version: str) -> set[str]:
        return {version, *(entry.oid for entry in self.entries(version))}

    def digest(self, version: str) -> str:
        """As data.contract.data_digest gives it of the folder."""
        if version not in self._digests:
            files = {
                entry.path: hashlib.sha256(self._from(entry.oid).read(entry.oid)).hexdigest()
                for entry in self.entries(version)
            }
            self._digests[version] = digest_of(files)
        return self._digests[version]

    def _from(self, oid: str) -> Objects:
        return next((place for place in self.places if place.has(oid)), self.places[-1])


def collect(
    workspace: Workspace, releases: Sequence[KeptRelease], *, remote: str = "", delete: bool = False
) -> Collected:
    """What of the remote may go; with `delete` it goes. Raises Faults, and removes nothing, when the data of a kept
    release cannot be told, or a needed version is not whole."""
    history = _history(workspace)
    with open_places(workspace, remote) as places:
        versions = _Versions((places.cache, places.remote))
        needed = {version_here(workspace): "the working tree", **_tips(workspace)}
        needed |= _of_releases(releases, [*needed, *history], history, versions)
        there = places.remote.list()
        strangers = {oid for oid in there if oid.endswith(".dir")} - set(history) - needed.keys()
        kept: set[str] = set()
        faults = []
        for version in [*needed, *strangers]:
            try:
                kept |= versions.oids(version)
            except (SluiceError, KeyError, ValueError) as error:
                # A list of something else than data is none of ours, and nothing in it is a version's.
                if version in needed:
                    faults.append(f"{needed[version]}: {error}")
        if faults:
            raise Faults(
                f"{places.remote.name}: nothing was removed", faults, remedy="sluice data push, where they are"
            )
        old = _readable(versions, history.keys() - needed.keys())
        removable = sorted((old & there) - kept | {oid for oid in there if not _OBJECT.fullmatch(oid)})
        # The lists go last: a run that is killed finds the rest of their files again.
        if delete:
            for oid in sorted(removable, key=lambda oid: oid.endswith(".dir")):
                places.remote.remove(oid)
        return Collected(places.remote.name, needed, tuple(removable), len(there - kept - {*removable}), delete)


def _history(workspace: Workspace) -> dict[str, str]:
    """Every version that a commit here names, newest first, and one of its commits."""
    root = workspace.root
    if git.run(root, "rev-parse", "--is-shallow-repository") == "true":
        raise SluiceError(f"{root}: a shallow clone knows no history", remedy="git fetch --unshallow")
    commits = git.run(root, "log", "--all", "--format=%H", "--", POINTER).split()
    found: dict[str, str] = {}
    for commit in commits:
        if version := _at(workspace, commit):
            found.setdefault(version, commit)
    return found


def _at(workspace: Workspace, commit: str) -> str | None:
    """The version at a commit; None where there is no data.dvc."""
    if not git.run(workspace.root, "ls-tree", "--name-only", commit, "--", POINTER):
        return None
    return version_of(git.run(workspace.root, "show", f"{commit}:{POINTER}").encode(), f"{commit[:12]}:{POINTER}")


def _tips(workspace: Workspace) -> dict[str, str]:
    names = git.run(workspace.root, "for-each-ref", "--format=%(refname)").split()
    found: dict[str, str] = {}
    for name in names:
        if version := _at(workspace, name):
            found.setdefault(version, name)
    return found


def _of_releases(
    releases: Sequence[KeptRelease], candidates: Sequence[str], history: dict[str, str], versions: _Versions
) -> dict[str, str]:
    """The versions that releases were made of: first tried is that of their commit, then every other one, because a
    release may have been made before its data was committed."""
    found: dict[str, str] = {}
    faults = []
    for release in releases:
        by_commit = [version for version, commit in history.items() if release.commit.startswith(commit)]
        for version in dict.fromkeys([*by_commit, *candidates]):
            if _is(versions, version, release.digest):
                found.setdefault(version, f"release {release.id}")
                break
        else:
            faults.append(f"release {release.id}: no version of data.dvc known here has the digest {release.digest}")
    if faults:
        raise Faults(
            "nothing was removed",
            faults,
            remedy="fetch all branches and tags; a release that is needed no more must go before its data",
        )
    return found


def _is(versions: _Versions, version: str, digest: str) -> bool:
    try:
        return versions.digest(version) == digest
    except SluiceError:
        return False


def _readable(versions: _Versions, gone: Iterable[str]) -> set[str]:
    """The objects of versions that are not needed; of one whose list is gone nothing is known any more."""
    found: set[str] = set()
    for version in gone:
        with contextlib.suppress(SluiceError):
            found |= versions.oids(version)
    return found
