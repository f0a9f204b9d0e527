"""Publishes data/: after `push` a fresh clone can pull the version that data.dvc names; otherwise `push` fails.

`verify` reads every object back out of the remote, as a fresh clone would; CI runs it. The next push completes one that
was killed.
"""

from __future__ import annotations

from dataclasses import dataclass

from sluice.core.atomic_files import write_atomic
from sluice.core.errors import SluiceError, ValidationErrors
from sluice.core.workspace import Workspace
from sluice.data.contract import check_or_raise
from sluice.data.data_policy import DataPolicy
from sluice.data.dvc_remote import POINTER, DataStores, absent, open_places, told, version_here

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
