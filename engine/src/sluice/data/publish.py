"""Publishes data/: after `push` a fresh clone can pull the version that data.dvc names; otherwise `push` fails.

`dvc push` and `dvc status --cloud` believe an index of what a remote holds, and a folder's list to prove its files:
both can claim success with objects missing. Here an object exists if its bytes were read and have its MD5. DVC locates
cache and remote and copies the bytes; importing it takes half a second."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from sluice.core.atomic_files import write_atomic
from sluice.core.errors import SluiceError, ValidationErrors
from sluice.core.settings import parse_yaml
from sluice.core.workspace import Workspace
from sluice.data.contract import check_or_raise
from sluice.data.privacy import DataPolicy

POINTER = "data.dvc"
_REMEDY = "publish the data from where it was changed: sluice data push"
_READERS = 16  # most of the time is spent waiting for the remote


@dataclass(frozen=True)
class ObjectStore:
    name: str
    odb: Any

    def fault(self, oid: str) -> str | None:
        """Return why an object can't be pulled; None if its bytes have its MD5."""
        try:
            with self._open(oid) as stream:
                digest = hashlib.file_digest(stream, partial(hashlib.md5, usedforsecurity=False))
        except FileNotFoundError:
            return f"is not in {self.name}"
        return None if digest.hexdigest() == oid.removesuffix(".dir") else f"holds other bytes in {self.name}"

    def files(self, version: str) -> dict[str, str]:
        """Return the object of each file of a version, which is the list of a folder, or one file."""
        if not version.endswith(".dir"):
            return {"": version}
        if fault := self.fault(version):
            raise SluiceError(f"object {version} {fault}", remedy=_REMEDY)
        with self._open(version) as stream:
            return {str(one["relpath"]): str(one["md5"]) for one in json.load(stream)}

    def faults(self, oids: Iterable[str]) -> dict[str, str]:
        wanted = list(dict.fromkeys(oids))
        with ThreadPoolExecutor(_READERS) as readers:
            found = zip(wanted, readers.map(self.fault, wanted), strict=True)
            return {oid: fault for oid, fault in found if fault}

    def _open(self, oid: str) -> Any:
        return self.odb.fs.open(self.odb.oid_to_path(oid), mode="rb")

    def copy_from(self, other: ObjectStore, lost: Mapping[str, str]) -> None:
        """Copy objects that can't be pulled from another store, and replace corrupt ones."""
        if lost:
            for oid in lost:
                with suppress(FileNotFoundError):
                    self.odb.delete(oid)
            self.odb.add([other.odb.oid_to_path(oid) for oid in lost], other.odb.fs, list(lost), check_exists=False)


@contextmanager
def _open_stores(workspace: Workspace, remote: str) -> Iterator[tuple[Any, ObjectStore, ObjectStore]]:
    """Yield DVC's repository, its cache and the remote."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo(str(workspace.root)) as repo:
            repo.scm_context.quiet = True  # what is to be committed, the caller knows
            name = remote or repo.config["core"].get("remote") or ""
            there = ObjectStore(f"remote {name!r}", repo.cloud.get_remote_odb(name or None))
            yield repo, ObjectStore("cache", repo.cache.local), there
    except DvcException as error:
        raise SluiceError(
            f"dvc: {str(error).splitlines()[0]}",
            remedy="`dvc remote list` lists the remotes, which are set in .dvc/config",
        ) from error


def version_here(workspace: Workspace) -> str:
    """Return the object that the data.dvc of the working tree names."""
    path = workspace.root / POINTER
    if not path.is_file():
        raise SluiceError(f"{path}: no such file", remedy="restore it with git, or make it: dvc add data")
    document, _ = parse_yaml(path.read_bytes(), path)
    try:
        (out,) = document["outs"]
        return str(out["md5"])
    except (KeyError, TypeError, ValueError):
        raise SluiceError(f"{path}: has no md5 of a single folder", remedy="run `dvc add data` again") from None


def _told(files: Mapping[str, str], lost: Mapping[str, str]) -> list[str]:
    return [f"data/{path}: object {oid} {lost[oid]}" for path, oid in files.items() if oid in lost]


@dataclass(frozen=True)
class Publication:
    """`version`: what data.dvc names. `objects`: all that were read back; `sent`: those that were missing."""

    remote: str
    version: str
    objects: int
    sent: int


def push(workspace: Workspace, policy: DataPolicy, remote: str = "") -> Publication:
    """Check data/, note its version in data.dvc, copy what is missing to the remote and read all of it back."""
    check_or_raise(workspace.data, policy=policy)
    pointer = workspace.root / POINTER
    before = pointer.read_bytes() if pointer.is_file() else None
    try:
        with _open_stores(workspace, remote) as (repo, cache, there):
            repo.add(str(workspace.data))
            return _send(cache, there, version_here(workspace))
    except BaseException:
        if before is not None:
            write_atomic(pointer, before)
        raise


def _send(cache: ObjectStore, there: ObjectStore, version: str) -> Publication:
    files = cache.files(version)
    lost = there.faults([*files.values(), version])
    listing = {version: lost.pop(version)} if version in lost else {}
    # The list of the files comes last: who finds it finds all.
    there.copy_from(cache, lost)
    there.copy_from(cache, listing)
    if after := there.faults(lost | listing):
        raise ValidationErrors(
            f"{there.name} cannot store the data",
            _told(files, after) or [f"{POINTER}: {version} {after[version]}"],
            remedy="check that it is not full and that you may write to it; if so, DVC's cache is damaged",
        )
    return Publication(there.name, version, len({*files.values(), version}), len(lost | listing))


def verify(workspace: Workspace, remote: str = "") -> Publication:
    """Read every object of data.dvc from the remote, with nothing but data.dvc to go by."""
    version = version_here(workspace)
    with _open_stores(workspace, remote) as (_, _, there):
        try:
            files = there.files(version)
        except SluiceError as error:
            raise ValidationErrors(POINTER, [f"{POINTER}: {error.message}"], remedy=_REMEDY) from None
        if lost := there.faults(files.values()):
            raise ValidationErrors(f"{POINTER} cannot be pulled from {there.name}", _told(files, lost), remedy=_REMEDY)
        return Publication(there.name, version, len({*files.values(), version}), 0)
