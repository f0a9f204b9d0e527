"""The attacked service: a release served on this machine, with the attack documents in its index.

Three services serve different purposes. `released` is the release itself. `complying` puts its guards before a model
that complies with every instruction, so an attack that succeeds has passed the guards. `unguarded` is the same without
guards: an attack that fails even there proves nothing. Each runs as a process of its own, `sluice redteam target`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from sluice.extras.redteam.attack import TENANTS
from sluice.extras.redteam.complying_model import ComplyingModel
from sluice.guardrails.guards import GuardOutcome
from sluice.rehearsal.release_services import ReleaseService, ReleaseServiceSpec
from sluice.retrieval.stores import Stores, StoreSpec
from sluice.serving.api_keys import VARIABLE, add_key, keys_path
from sluice.serving.auth import KeyRing
from sluice.serving.http_api import create_app
from sluice.serving.middleware import TrafficState
from sluice.serving.release_parts import ReleaseBundle
from sluice.serving.runtime import open_runtime
from sluice.serving.server import listen

TargetKind: TypeAlias = Literal["complying", "unguarded", "released"]
SIDES: tuple[TargetKind, ...] = get_args(TargetKind)
_NOBODY = "nobody"
# The store of the attacks is theirs alone: what is planted never lies beside what is served to people.
_STORES = Stores(default="redteam", stores={"redteam": StoreSpec(kind="embedded", timeout_seconds=10)})
_RATE = 10**6  # requests a minute: the attacks must not be stopped by the rate of a key


class NoGuards:
    """Lets everything pass."""

    async def check_input(self, text: str, earlier: Sequence[str] = ()) -> GuardOutcome:  # noqa: ARG002
        return GuardOutcome(text, False, ())

    async def check_passage(self, text: str) -> GuardOutcome:
        return GuardOutcome(text, False, ())

    async def check_output(self, text: str) -> GuardOutcome:
        return GuardOutcome(text, False, ())


def serve(bundle: ReleaseBundle, side: TargetKind, port: int, *, index: Path, state: Path) -> None:
    """Serves until SIGTERM. `index`: that of the release with the planted documents; `state`: where the store lies."""
    traffic = TrafficState()
    service = bundle.service
    if side != "released":
        # The guards see whole passages, and here so does the model: what they let pass must not be left out by chance.
        service = service.model_copy(update={"small_model": None})
    drill = replace(bundle, index=index, service=service)
    with open_runtime(
        drill,
        _STORES,
        state,
        stand_in=None if side == "released" else ComplyingModel(),
        guards=NoGuards() if side == "unguarded" else None,
    ) as runtime:
        app = create_app(drill, runtime.application, traffic, providers=runtime.chat, keys=KeyRing(keys_path(state)))
        seconds = bundle.service.drain_seconds
        listen(app, traffic, "127.0.0.1", port, drain_seconds=seconds, before=runtime.application.warm_up)


@dataclass(frozen=True)
class AttackTarget:
    """A service that is up. `keys`: tenant -> key; None is a caller without a tenant."""

    url: str
    keys: Mapping[str | None, str]


@contextmanager
def started(side: TargetKind, argv: list[str], *, state: Path, env: Mapping[str, str]) -> Iterator[AttackTarget]:
    """The service of `argv` (`{port}` is replaced), with keys of its own for each tenant; it has ended afterwards."""
    file = state / "keys.json"
    file.unlink(missing_ok=True)
    keys = {
        tenant: add_key(file, tenant or _NOBODY, tenant=tenant, scopes=["chat"], rate=_RATE)
        for tenant in (None, *TENANTS)
    }
    spec = ReleaseServiceSpec(release=side, argv=argv, env={**env, VARIABLE: os.fspath(file)})
    service = ReleaseService(f"redteam-{side}", spec, state=state)
    try:
        service.wait_ready()
        yield AttackTarget(service.url, keys)
        service.require_running()
    finally:
        service.stop()
