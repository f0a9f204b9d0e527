"""Feedback: what is taken, what is written, what is handed on, and a disk that does not take it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from sluice.serving import feedback as module
from sluice.serving.api_keys import add_key
from sluice.serving.auth import KeyRing
from sluice.serving.feedback import Feedback, FeedbackLog
from sluice.serving.http_api import create_app
from sluice.serving.middleware import TrafficState
from sluice.serving.release_parts import ReleaseBundle
from sluice.serving.runner import ApplicationRunner
from support.serving.fakes import ScriptedChat
from unit.serving.client import Client

TRACE = "0" * 31 + "1"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "feedback"


@pytest.fixture
def make_client(
    bundle: ReleaseBundle, make_chain: Callable[[ScriptedChat], ApplicationRunner], chat: ScriptedChat
) -> Callable[..., Client]:
    def make(log: FeedbackLog | None, keys: KeyRing | None = None) -> Client:
        return Client(create_app(bundle, make_chain(chat), TrafficState(), feedback=log, keys=keys))

    return make


@pytest.fixture
def client(make_client: Callable[..., Client], folder: Path) -> Client:
    return make_client(FeedbackLog(folder))


def send(client: Client, headers: dict[str, str] | None = None, **fields: Any) -> httpx.Response:
    body = {"trace_id": TRACE, "score": 1} | fields
    return client.send("POST", "/v1/feedback", json=body, headers=headers)


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for path in sorted(folder.glob("*.jsonl")) for line in path.read_text().splitlines()]


def test_the_id_of_an_answer_is_taken_as_it_is(client: Client, folder: Path) -> None:
    answer = client.chat().json()["id"]
    response = send(client, trace_id=answer, score=0, comment="  Wrong number. ")
    trace = answer.removeprefix("chatcmpl-")
    assert (response.status_code, response.json()) == (200, {"object": "feedback", "id": trace})
    send(client, trace_id=trace, score=0.5)
    first, second = lines(folder)
    assert first.pop("time").startswith("20")
    assert first == {
        "release": "r-0123456789ab",
        "trace_id": trace,
        "score": 0.0,
        "comment": "Wrong number.",
        "key": None,
        "tenant": None,
    }
    assert (second["trace_id"], second["score"], second["comment"]) == (trace, 0.5, "")


def test_an_id_that_nobody_knows_is_taken_too(client: Client, folder: Path) -> None:
    assert send(client, trace_id="f" * 32).status_code == 200
    assert len(lines(folder)) == 1


def test_key_and_tenant_are_written_down(make_client: Callable[..., Client], folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    secret = add_key(path, "web", tenant="acme", scopes=["feedback"], rate=60)
    mute = add_key(path, "mute", tenant="acme", scopes=["chat"], rate=60)
    client = make_client(FeedbackLog(folder), KeyRing(path))
    assert send(client, {"authorization": f"Bearer {secret}"}).status_code == 200
    assert send(client, {"authorization": f"Bearer {mute}"}).status_code == 403
    assert send(client).status_code == 401
    assert [(line["key"], line["tenant"]) for line in lines(folder)] == [("web", "acme")]


def test_personal_data_and_secrets_never_reach_the_disk(client: Client, folder: Path, tmp_path: Path) -> None:
    key = add_key(tmp_path / "keys.json", "web", tenant=None, scopes=["chat"], rate=1)
    send(client, comment=f"Ask jo@example.org or +1 555 123 4567, my key is {key}, password: hunter22x")
    (line,) = lines(folder)
    assert line["comment"].count("[redacted: ") == 4
    for word in ("jo@", "555", key, "hunter"):
        assert word not in (folder / f"{line['time'][:10]}.jsonl").read_text()


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"trace_id": "x"}, "trace_id"),
        ({"trace_id": "../../etc/passwd"}, "trace_id"),
        ({"trace_id": "A" * 32}, "trace_id"),
        ({"score": 2}, "score"),
        ({"score": -0.1}, "score"),
        ({"score": True}, "score"),
        ({"score": "1"}, "score"),
        ({"comment": "x" * 2001}, "comment"),
        ({"comments": "x"}, "comments"),
    ],
)
def test_what_is_refused(client: Client, folder: Path, fields: dict[str, Any], param: str) -> None:
    response = send(client, **fields)
    assert response.status_code == 400
    assert response.json()["error"]["param"].startswith(param)
    assert not folder.exists()


def test_an_unknown_field_is_told_with_the_nearest(client: Client) -> None:
    assert "did you mean 'comment'?" in send(client, commment="x").json()["error"]["message"]


def test_a_disk_that_does_not_take_it_is_503_and_the_chat_goes_on(
    client: Client, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder.write_text("a file where the folder should be")
    response = send(client)
    assert (response.status_code, response.json()["error"]["code"]) == (503, "feedback_unavailable")
    assert response.headers["retry-after"] == "60"
    assert str(folder) not in response.text
    assert str(folder) in caplog.text
    assert client.chat().status_code == 200


def test_a_full_file_takes_no_more(client: Client, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_BYTES", 400)
    statuses = [send(client, comment="x" * 100).status_code for _ in range(4)]
    assert statuses == [200, 503, 503, 503]
    assert len(lines(folder)) == 1


def test_without_a_place_it_is_503(make_client: Callable[..., Client]) -> None:
    assert send(make_client(None)).status_code == 503


def test_it_is_handed_on_when_it_is_on_disk(make_client: Callable[..., Client], folder: Path) -> None:
    handed: list[Feedback] = []

    def forward(record: Feedback) -> None:
        assert lines(folder)[-1]["trace_id"] == record.trace_id
        handed.append(record)
        raise ConnectionError("the tracer is away")

    client = make_client(FeedbackLog(folder, forward))
    assert [send(client).status_code for _ in range(2)] == [
        200,
        200,
    ]  # a failing tracer is not his business
    assert [(record.score, record.comment) for record in handed] == [(1.0, ""), (1.0, "")]


def test_half_characters_do_no_harm(client: Client, folder: Path) -> None:
    content = b'{"trace_id": "' + TRACE.encode() + b'", "score": 1, "comment": "\\ud800 x"}'
    response = client.send("POST", "/v1/feedback", content=content, headers={"content-type": "application/json"})
    assert response.status_code in (200, 400)
    assert all("x" in line["comment"] for line in lines(folder))
