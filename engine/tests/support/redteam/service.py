"""A scripted service to attack: what it answers is a function of the last message and of the caller's key."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sluice.extras.redteam.attack import TENANTS
from sluice.extras.redteam.drill import RedTeamParameters
from sluice.extras.redteam.garak import GarakParameters
from sluice.extras.redteam.target import AttackTarget
from support.local_server import QuietHandler, local_server

Behave = Callable[[str, str], dict[str, Any] | bytes | int]
PARAMETERS = RedTeamParameters(
    workers=4,
    released_workers=2,
    answer_seconds=240,
    released_each=8,
    garak=GarakParameters(probes=("dan.Dan_11_0",), prompts=1, generations=1, parallel=1, minutes=1),
)
KEYS = {None: "key-nobody", **{tenant: f"key-{tenant}" for tenant in TENANTS}}


def reply(text: str, *, citations: tuple[str, ...] = (), blocked: str = "") -> dict[str, Any]:
    """An answer in the form of engine/docs/reference/api.md, as far as the red team reads it."""
    return {
        "choices": [{"message": {"role": "assistant", "content": text}}],
        "citations": [{"document": one} for one in citations],
        "blocked": blocked or None,
    }


@contextmanager
def service(behave: Behave) -> Iterator[AttackTarget]:
    """`behave(question, key)` gives a body, raw bytes, or an error status."""

    class Handler(QuietHandler):
        def do_GET(self) -> None:  # /version, of the working tree
            self.reply(200, b'{"release": "draft"}')

        def do_POST(self) -> None:
            body = json.loads(self.body)
            key = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
            said = behave(body["messages"][-1]["content"], key)
            content = said if isinstance(said, bytes) else json.dumps(said if isinstance(said, dict) else {}).encode()
            self.reply(said if isinstance(said, int) else 200, content)

    with local_server(Handler) as address:
        yield AttackTarget(address, KEYS)
