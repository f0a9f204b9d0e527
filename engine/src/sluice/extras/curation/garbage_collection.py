"""Deletes old versions of the data from a remote, and only versions that no branch, tag or release needs.

Deleted are objects of versions that data.dvc once named and that are no longer needed, and partial files of a killed
push. Needed are the version of the working tree, those at the tip of every branch and tag, those of every retained
release, and every version in the remote that is unknown to the local history, because another person may be about to
commit it. In doubt nothing is deleted.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from sluice.core import git
from sluice.core.digests import digest_of
from sluice.core.errors import SluiceError, ValidationErrors
from sluice.core.workspace import Workspace
from sluice.data.dvc_remote import POINTER, DataEntry, ObjectStore, open_places, version_here, version_of

_OBJECT = re.compile(r"[0-9a-f]{32}(\.dir)?")


@dataclass(frozen=True)
class RetainedRelease:
    """A release that may be served again. `digest`: of its data, as its manifest pins it."""

    id: str
    commit: str
    digest: str


@dataclass(frozen=True)
class GarbageReport:
    """`versions`: why each version is needed. `removable`: objects, removed where `deleted`. `unknown`: objects that
    belong to no version of the data known here, which stay."""

    remote: str
    versions: dict[str, str]
    removable: tuple[str, ...]
    unknown: int
    deleted: bool


@dataclass
class _VersionReader:
    """Versions by their object, read once each from the cache or the remote."""

    stores: Sequence[ObjectStore]
    _entries: dict[str, list[DataEntry]] = field(default_factory=dict)
    _digests: dict[str, str] = field(default_factory=dict)

    def entries(self, version: str) -> list[DataEntry]:
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

    def _from(self, oid: str) -> ObjectStore:
        return next((place for place in self.stores if place.has(oid)), self.stores[-1])


def collect(
    workspace: Workspace, releases: Sequence[RetainedRelease], *, remote: str = "", delete: bool = False
) -> GarbageReport:
    """What of the remote may go; with `delete` it goes. Raises ValidationErrors, and removes nothing, when the data of
    a kept release cannot be told, or a needed version is not whole."""
    history = _history(workspace)
    with open_places(workspace, remote) as stores:
        versions = _VersionReader((stores.cache, stores.remote))
        needed = {version_here(workspace): "the working tree", **_tips(workspace)}
        needed |= _of_releases(releases, [*needed, *history], history, versions)
        there = stores.remote.list()
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
            raise ValidationErrors(
                f"{stores.remote.name}: nothing was removed", faults, remedy="sluice data push, where they are"
            )
        old = _readable(versions, history.keys() - needed.keys())
        removable = sorted((old & there) - kept | {oid for oid in there if not _OBJECT.fullmatch(oid)})
        # The lists go last: a run that is killed finds the rest of their files again.
        if delete:
            for oid in sorted(removable, key=lambda oid: oid.endswith(".dir")):
                stores.remote.remove(oid)
        return GarbageReport(stores.remote.name, needed, tuple(removable), len(there - kept - {*removable}), delete)


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
    releases: Sequence[RetainedRelease], candidates: Sequence[str], history: dict[str, str], versions: _VersionReader
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
        raise ValidationErrors(
            "nothing was removed",
            faults,
            remedy="fetch all branches and tags; a release that is needed no more must go before its data",
        )
    return found


def _is(versions: _VersionReader, version: str, digest: str) -> bool:
    try:
        return versions.digest(version) == digest
    except SluiceError:
        return False


def _readable(versions: _VersionReader, gone: Iterable[str]) -> set[str]:
    """The objects of versions that are not needed; of one whose list is gone nothing is known any more."""
    found: set[str] = set()
    for version in gone:
        with contextlib.suppress(SluiceError):
            found |= versions.oids(version)
    return found
