"""A person who has talked, scored, and been traced: after the erasure a canary string is nowhere, and others stay."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import psycopg
import pytest

from sluice.cli import command as sluice
from sluice.core.extras import extras
from sluice.core.settings import load_settings
from sluice.core.tracking import open_tracking
from sluice.core.workspace import Workspace
from sluice.evaluation.response_cache import ResponseCache
from sluice.extras.conversations.erase import erase, sweep
from sluice.retrieval.stores import EMBEDDED, open_store
from sluice.serving.telemetry.settings import TelemetrySettings
from sluice.serving.telemetry.telemetry import open_telemetry
from support.serving.fakes import ScriptedChat, scripted_bundle
from unit.serving.client import Client

pytestmark = [pytest.mark.real, pytest.mark.timeout(1800)]
CANARY = "zqx-canary-4711"
QUESTION = f"How much overlap do chunks have, {CANARY}?"
Keys = dict[str, dict[str, str]]


def files_with(folder: Path, words: str = CANARY) -> list[str]:
    return [
        str(path.relative_to(folder))
        for path in sorted(folder.rglob("*"))
        if path.is_file() and words.encode() in path.read_bytes()
    ]


def rows_with(state: Path, words: str = CANARY) -> int:
    """Rows of all tables whose text, or whose bytes, hold the words."""
    with open_store(EMBEDDED.chosen, state) as address, psycopg.connect(address) as connection:
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        found = 0
        for (table,) in tables:
            rows = connection.execute(f'SELECT t::text FROM "{table}" t').fetchall()  # type: ignore[arg-type]
            found += sum(words in row[0] or words.encode().hex() in row[0] for row in rows)
        return found


def checkpoint(state: Path) -> None:
    with open_store(EMBEDDED.chosen, state) as address, psycopg.connect(address, autocommit=True) as connection:
        connection.execute("CHECKPOINT")


def run(*words: str) -> str:
    """What a command of `sluice` prints."""
    with redirect_stdout(io.StringIO()) as printed:
        sluice()(args=list(words), standalone_mode=False)
    return printed.getvalue()


def talk(client: Client, headers: dict[str, str], question: str) -> None:
    """A conversation of two turns; the last answer is scored."""
    name = client.send("POST", "/v1/conversations", headers=headers).json()["id"]
    for _ in range(2):
        reply = client.chat(question, headers={**headers, "x-sluice-conversation": name})
        assert reply.status_code == 200, reply.text
    scored = {"trace_id": reply.json()["id"], "score": 0, "comment": f"wrong: {question}"}
    assert client.send("POST", "/v1/feedback", json=scored, headers=headers).status_code == 200


@pytest.fixture
def left(serve: Callable[..., Client], keys: Keys, state: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What carol and dave have left everywhere: headers of carol. Half of the traces are in MLflow, half still wait in
    files."""
    if "traces" not in extras():
        pytest.skip("the extra that loads traces into MLflow was left out")
    monkeypatch.chdir(state.parent)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    carol, dave = ({**keys["one"], "x-sluice-person": person} for person in ("carol", "dave"))
    others = QUESTION.replace(CANARY, "zqx-other-0815")
    chat = ScriptedChat(script={question: f"64 tokens, {question}" for question in (QUESTION, others)})
    settings = load_settings(state.parent / "config" / "telemetry.yaml", TelemetrySettings)
    settings = settings.model_copy(
        update={"traces": settings.traces.model_copy(update={"ratio": 1.0, "contents": True})}
    )
    for loaded in (True, False):
        with open_telemetry(settings, scripted_bundle(), state) as telemetry:
            client = serve(chat, telemetry)
            talk(client, carol, QUESTION)
            talk(client, dave, others)
        if loaded:
            run("traces", "push")
    cache = ResponseCache(state / "responses")
    cache.put("aa" * 32, {"messages": [{"role": "user", "content": f"Passages.\n\n{QUESTION}"}]})
    cache.put("bb" * 32, {"messages": [{"role": "user", "content": others}]})
    return carol


@pytest.mark.usefixtures("left")
def test_a_canary_string_is_nowhere_afterwards(state: Path) -> None:
    checkpoint(state)  # pages are written to their files
    before = files_with(state)
    assert rows_with(state) > 0
    for place in ("feedback/", "traces/", "responses/", "mlflow.db", "pg/base/"):
        assert any(name.startswith(place) for name in before), (place, before)

    done = json.loads(run("conversations", "erase", "carol", "--tenant", "acme", "--rewrite"))
    assert (done["conversations"], done["feedback"], done["mlflow"], done["cached"]) == (2, 2, 2, 1)
    assert done["spans"] > 0
    assert "write-ahead log" in " ".join(done["not_reached"])

    assert rows_with(state) == 0
    checkpoint(state)
    rest = files_with(state)
    assert [name for name in rest if not name.startswith("pg/pg_wal/")] == []  # that is said in `not_reached`

    # Dave has lost nothing.
    other = "zqx-other-0815"
    assert rows_with(state, other) > 0
    there = files_with(state, other)
    for place in ("feedback/", "traces/", "responses/", "mlflow.db"):
        assert any(name.startswith(place) for name in there), (place, there)
    client = open_tracking(Workspace(state.parent), "service").client
    trace = client.search_traces([client.get_experiment_by_name("service").experiment_id])
    assert len(trace) >= 2
    again = erase(Workspace(state.parent), EMBEDDED, "carol", tenant="acme", key="", rewrite=False)
    assert (again.conversations, again.feedback, again.spans, again.mlflow, again.cached) == (0, 0, 0, 0, 0)


def test_what_the_service_was_asked_to_erase_goes_with_the_sweep(
    left: dict[str, str], serve: Callable[..., Client], keys: Keys, state: Path, query: Any
) -> None:
    client = serve()
    reply = client.send("DELETE", "/v1/people/carol", headers=left)
    assert (reply.status_code, reply.json()["conversations"], reply.json()["swept"]) == (200, 2, False)
    assert rows_with(state) == 0  # at once; feedback and traces wait for the sweep
    assert any(name.startswith("feedback/") for name in files_with(state))
    assert query("SELECT person FROM sluice_erasures") == [("carol",)]
    # Of another key there is no such person, and nothing of hers is touched.
    assert client.send("DELETE", "/v1/people/dave", headers=keys["three"]).json()["conversations"] == 0
    of_dave = query(
        "UPDATE sluice_conversations SET used = now() - interval '31 days' WHERE person = 'dave' RETURNING id"
    )

    done = sweep(Workspace(state.parent), EMBEDDED)
    assert (done.people, done.feedback, done.mlflow) == (2, 2, 2)
    assert done.expired == len(of_dave) >= 2
    assert query("SELECT 1 FROM sluice_erasures") == []
    assert any("cached responses" in one for one in done.not_reached)  # the texts are gone that would find them
    assert [name for name in files_with(state) if not name.startswith(("pg/", "responses/"))] == []
