"""Publishes data/: after `push` a fresh clone can pull the version that data.dvc names; otherwise `push` fails.

`verify` reads every object back out of the remote, as a fresh clone would; CI runs it. The next push completes one that
was killed.

`dvc push` and `dvc status --cloud` believe an index of what a remote holds, and a folder's list to prove its files:
both can claim success with objects missing. Here an object exists when its bytes were read and have its MD5. DVC
locates cache and remote and copies the bytes; it is imported inside functions, because it takes half a second.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sluice.core.atomic_files import write_atomic
from sluice.core.errors import SluiceError, ValidationErrors
from sluice.core.settings import parse_yaml
from sluice.core.workspace import Workspace
from sluice.data.contract import check_or_raise
from sluice.data.privacy import DataPolicy

POINTER = "data.dvc"
_READERS = 16  # most of the time is spent waiting for the remote


@dataclass(frozen=True)
class DataEntry:
    """A file of the data set: its path below data/, and the object that holds it (`oid`, an MD5 in hex)."""

    path: str
    oid: str


@dataclass(frozen=True)
class ObjectStore:
    """A store of objects. `name`: for people."""

    name: str
    odb: Any

    def fault(self, oid: str) -> str | None:
        """Why an object cannot be pulled; None where its bytes have its MD5."""
        try:
            with self._open(oid) as stream:
                digest = hashlib.file_digest(stream, partial(hashlib.md5, usedforsecurity=False))
        except FileNotFoundError:
            return f"is not in {self.name}"
        return None if digest.hexdigest() == oid.removesuffix(".dir") else f"holds other bytes in {self.name}"

    def read(self, oid: str) -> bytes:
        """The bytes of an object. SluiceError when they are not there or are others."""
        if fault := self.fault(oid):
            raise SluiceError(f"object {oid} {fault}", remedy="publish it again: sluice data push")
        with self._open(oid) as stream:
            return bytes(stream.read())

    def _open(self, oid: str) -> Any:
        return self.odb.fs.open(self.odb.oid_to_path(oid), mode="rb")

    def entries(self, oid: str) -> list[DataEntry]:
        """The files of a version of the data: `oid` is the list of a folder, or one file."""
        if not oid.endswith(".dir"):
            return [DataEntry("", oid)]
        return [DataEntry(str(one["relpath"]), str(one["md5"])) for one in json.loads(self.read(oid))]

    def copy_from(self, other: ObjectStore, lost: Mapping[str, str]) -> None:
        """Copies from another store what was `absent`, and replaces corrupt objects."""
        if lost:
            for oid in lost:
                with suppress(FileNotFoundError):
                    self.odb.delete(oid)
            self.odb.add([other.odb.oid_to_path(oid) for oid in lost], other.odb.fs, list(lost), check_exists=False)


@dataclass(frozen=True)
class DataStores:
    """DVC's cache of this checkout and the remote that is meant."""

    cache: ObjectStore
    remote: ObjectStore
    repo: Any


@contextmanager
def open_places(workspace: Workspace, remote: str = "") -> Iterator[DataStores]:
    """DVC's cache of a checkout, and a remote."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo(str(workspace.root)) as repo:
            repo.scm_context.quiet = True  # what is to be committed, the caller knows
            name = remote or repo.config["core"].get("remote") or ""
            there = ObjectStore(f"remote {name!r}", repo.cloud.get_remote_odb(name or None))
            yield DataStores(ObjectStore("cache", repo.cache.local), there, repo)
    except DvcException as error:
        raise SluiceError(
            f"dvc: {str(error).splitlines()[0]}",
            remedy="`dvc remote list` lists the remotes, which are set in .dvc/config",
        ) from error


def version_of(pointer: bytes, place: Path | str = POINTER) -> str:
    """The object that a data.dvc names."""
    document, _ = parse_yaml(pointer, place)
    try:
        (out,) = document["outs"]
        return str(out["md5"])
    except (KeyError, TypeError, ValueError):
        raise SluiceError(f"{place}: has no md5 of a single folder", remedy="run `dvc add data` again") from None


def version_here(workspace: Workspace) -> str:
    """The object that the data.dvc of the working tree names."""
    path = workspace.root / POINTER
    if not path.is_file():
        raise SluiceError(f"{path}: no such file", remedy="restore it with git, or make it: dvc add data")
    return version_of(path.read_bytes(), path)


def absent(objects: ObjectStore, oids: Iterable[str]) -> dict[str, str]:
    """Objects that cannot be pulled from a store, and why."""
    wanted = list(dict.fromkeys(oids))
    with ThreadPoolExecutor(_READERS) as readers:
        found = zip(wanted, readers.map(objects.fault, wanted), strict=True)
        return {oid: fault for oid, fault in found if fault}


def told(entries: Iterable[DataEntry], lost: Mapping[str, str]) -> list[str]:
    """A fault for each file that has lost its object."""
    return [f"data/{entry.path}: object {entry.oid} {lost[entry.oid]}" for entry in entries if entry.oid in lost]


_REMEDY = "publish the data from where it was changed: sluice data push"


@dataclass(frozen=True)
class Publication:
    """`version`: what data.dvc names. `objects`: all that were read back; `sent`: those that had not been there."""

    remote: str
    version: str
    objects: int
    sent: int


def push(workspace: Workspace, policy: DataPolicy, remote: str = "") -> Publication:
    """Checks data/, notes its version in data.dvc, brings what is missing into the remote and reads all of it back."""
    check_or_raise(workspace.data, policy=policy)
    pointer = workspace.root / POINTER
    before = pointer.read_bytes() if pointer.is_file() else None
    try:
        with open_places(workspace, remote) as stores:
            stores.repo.add(str(workspace.data))
            return _send(stores, version_here(workspace))
    except BaseException:
        if before is not None:
            write_atomic(pointer, before)
        raise


def _send(stores: DataStores, version: str) -> Publication:
    entries = stores.cache.entries(version)
    lost = absent(stores.remote, [*(entry.oid for entry in entries), version])
    listing = {version: lost.pop(version)} if version in lost else {}
    # The list of the files comes last: who finds it finds all.
    stores.remote.copy_from(stores.cache, lost)
    stores.remote.copy_from(stores.cache, listing)
    after = absent(stores.remote, lost | listing)
    if after:
        raise ValidationErrors(
            f"{stores.remote.name} cannot store the data",
            told(entries, after) or [f"{POINTER}: {version} {after[version]}"],
            remedy="check that it is not full and that you may write to it; if so, DVC's cache is damaged",
        )
    return Publication(
        stores.remote.name, version, len({entry.oid for entry in entries} | {version}), len(lost | listing)
    )


def verify(workspace: Workspace, remote: str = "") -> Publication:
    """Reads every object of data.dvc out of the remote, with nothing but data.dvc to go by."""
    version = version_here(workspace)
    with open_places(workspace, remote) as stores:
        try:
            entries = stores.remote.entries(version)
        except SluiceError as error:
            raise ValidationErrors(POINTER, [f"{POINTER}: {error.message}"], remedy=_REMEDY) from None
        if lost := absent(stores.remote, (entry.oid for entry in entries)):
            raise ValidationErrors(
                f"{POINTER} cannot be pulled from {stores.remote.name}", told(entries, lost), remedy=_REMEDY
            )
        return Publication(stores.remote.name, version, len({entry.oid for entry in entries} | {version}), 0)
