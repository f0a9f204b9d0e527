"""A real PostgreSQL, and services of two replicas over it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from sluice.extras.conversations.service import open_conversations
from sluice.guardrails.guards import Guards
from sluice.retrieval.store_schema import open_tables
from sluice.retrieval.stores import EMBEDDED, open_store
from sluice.serving.api_keys import add_key
from sluice.serving.auth import KeyRing
from sluice.serving.feedback import FeedbackLog
from sluice.serving.http_api import create_app
from sluice.serving.middleware import TrafficState
from sluice.serving.runner import ApplicationRunner
from sluice.serving.telemetry.telemetry import Telemetry
from support.serving.fakes import GUARDRAILS, HITS, REPLIES, ScriptedChat, ScriptedRetriever, scripted_bundle
from unit.serving.client import Client

NOBODY = ScriptedChat(script={})
ROOT = Path(__file__).parents[5]
TENANTS = {"one": "acme", "two": "acme", "three": "other", "four": None}


@pytest.fixture(scope="session")
def state() -> Iterator[Path]:
    """The .sluice/ folder of a checkout in miniature. Its path is short: that of a socket is limited."""
    root = Path(tempfile.mkdtemp(prefix="sl"))
    (root / "prompts").mkdir()
    (root / "config").mkdir()
    (root / "pyproject.toml").touch()
    for name in ("stores.yaml", "telemetry.yaml"):
        shutil.copy(ROOT / "config" / name, root / "config" / name)
    (root / "config" / "conversations.yaml").write_text("history_tokens: 60\n")
    with open_store(EMBEDDED.chosen, root / ".sluice"):
        yield root / ".sluice"
    shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
def keys(tmp_path: Path) -> dict[str, dict[str, str]]:
    """Headers by the name of a key."""
    path = tmp_path / "keys.json"
    found = {}
    for name, tenant in TENANTS.items():
        secret = add_key(path, name, tenant=tenant, scopes=["chat", "feedback"], rate=10_000)
        found[name] = {"authorization": f"Bearer {secret}"}
    return found


@pytest.fixture
def serve(state: Path, tmp_path: Path, keys: dict[str, dict[str, str]]) -> Iterator[Callable[..., Client]]:  # noqa: ARG001 - of the file
    with ExitStack() as opened:

        def start(chat: ScriptedChat | None = None, telemetry: Telemetry | None = None) -> Client:
            part = opened.enter_context(open_conversations(EMBEDDED, state))
            found = HITS | dict.fromkeys((chat or NOBODY).script, HITS["How much overlap do chunks have?"])
            chain = ApplicationRunner(
                scripted_bundle(), chat or ScriptedChat(script=REPLIES), ScriptedRetriever(found), Guards(GUARDRAILS)
            )
            ring, log = KeyRing(tmp_path / "keys.json"), FeedbackLog(state / "feedback")
            return Client(
                create_app(
                    chain.services.bundle,
                    chain,
                    TrafficState(),
                    keys=ring,
                    feedback=log,
                    telemetry=telemetry,
                    parts=[part],
                )
            )

        yield start


@pytest.fixture
def query(state: Path) -> Iterator[Callable[..., list[tuple[object, ...]]]]:
    """Rows of a statement."""
    with open_tables(EMBEDDED, state, "conversations", lambda _: None) as pool, pool.connection() as connection:

        def run(statement: str, *values: object) -> list[tuple[object, ...]]:
            done = connection.execute(statement, values)
            return done.fetchall() if done.description else []

        yield run
