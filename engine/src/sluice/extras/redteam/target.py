"""What is attacked: a release served on this machine, with the documents of the attacks in its index.

Three services show different things. `released` is the release as it is. `obedient` has its guards before a model that
obeys everybody, so what succeeds there has passed the guards. `unguarded` is the same without guards: an attack that
does not even succeed there proves nothing. Each runs as a process of its own, `sluice redteam target`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from sluice.extras.redteam.attack import TENANTS
from sluice.extras.redteam.complying_model import Obedient
from sluice.guardrails.guards import Outcome
from sluice.rehearsal.services import Service, ServiceSpec
from sluice.retrieval.stores import Stores, StoreSpec
from sluice.serving.api import create_app
from sluice.serving.auth import KeyRing
from sluice.serving.bundle import Bundle
from sluice.serving.keys import VARIABLE, add_key, keys_path
from sluice.serving.middleware import Traffic
from sluice.serving.runtime import open_runtime
from sluice.serving.server import listen

Side: TypeAlias = Literal["obedient", "unguarded", "released"]
SIDES: tuple[Side, ...] = get_args(Side)
_NOBODY = "nobody"
# The store of the attacks is theirs alone: what is planted never lies beside what is served to people.
_STORES = Stores(default="redteam", stores={"redteam": StoreSpec(kind="embedded", timeout_seconds=10)})
_RATE = 10**6  # requests a minute: the attacks must not be stopped by the rate of a key


class NoGuards:
    """Lets everything pass."""

    async def check_input(self, text: str) -> Outcome:
        return Outcome(text, False, ())

    async def check_passage(self, text: str) -> Outcome:
        return Outcome(text, False, ())

    async def check_output(self, text: str) -> Outcome:
        return Outcome(text, False, ())


def serve(bundle: Bundle, side: Side, port: int, *, index: Path, state: Path) -> None:
    """Serves until SIGTERM. `index`: that of the release with the planted documents; `state`: where the store lies."""
    traffic = Traffic()
    drill = replace(bundle, index=index)
    with open_runtime(
        drill,
        _STORES,
        state,
        stand_in=None if side == "released" else Obedient(),
        guards=NoGuards() if side == "unguarded" else None,
    ) as runtime:
        app = create_app(drill, runtime.application, traffic, providers=runtime.chat, keys=KeyRing(keys_path(state)))
        seconds = bundle.service.drain_seconds
        listen(app, traffic, "127.0.0.1", port, drain_seconds=seconds, before=runtime.application.warm_up)


@dataclass(frozen=True)
class Target:
    """A service that is up. `keys`: tenant -> key; None is a caller without a tenant."""

    url: str
    keys: Mapping[str | None, str]


@contextmanager
def started(side: Side, argv: list[str], *, state: Path, env: Mapping[str, str]) -> Iterator[Target]:
    """The service of `argv` (`{port}` is replaced), with keys of its own for each tenant; it has ended afterwards."""
    file = state / "keys.json"
    file.unlink(missing_ok=True)
    keys = {
        tenant: add_key(file, tenant or _NOBODY, tenant=tenant, scopes=["chat"], rate=_RATE)
        for tenant in (None, *TENANTS)
    }
    spec = ServiceSpec(release=side, argv=argv, env={**env, VARIABLE: os.fspath(file)})
    service = Service(f"redteam-{side}", spec, state=state)
    try:
        service.wait_ready()
        yield Target(service.url, keys)
        service.require_running()
    finally:
        service.stop()
