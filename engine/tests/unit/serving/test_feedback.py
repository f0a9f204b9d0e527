import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from sluice.serving.api_keys import add_key
from sluice.serving.auth import KEYLESS, Caller, KeyRing
from sluice.serving.feedback import Feedback, FeedbackLog, proof_of
from unit.serving.client import Client

RELEASE = "r-0123456789ab"
TRACE = "0" * 31 + "1"


def id_of(trace: str = TRACE, *, release: str = RELEASE, tenant: str | None = None, signing: bytes = KEYLESS) -> str:
    """The id that an answer of this release to this tenant has."""
    return trace + proof_of(Caller(None, tenant, signing), trace, release)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "feedback"


@pytest.fixture
def client(make_client: Callable[..., Client], folder: Path) -> Client:
    return make_client(feedback=FeedbackLog(folder))


def send(client: Client, headers: dict[str, str] | None = None, **fields: Any) -> httpx.Response:
    body = {"trace_id": id_of(), "score": 1} | fields
    return client.send("POST", "/v1/feedback", json=body, headers=headers)


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for path in sorted(folder.glob("*.jsonl")) for line in path.read_text().splitlines()]


def test_the_id_of_an_answer_is_taken_as_it_is(client: Client, folder: Path) -> None:
    answer = client.chat().json()["id"]
    response = send(client, trace_id=answer, score=0, comment="  Wrong number. ")
    trace = answer.removeprefix("chatcmpl-")[:32]
    assert (response.status_code, response.json()) == (200, {"object": "feedback", "id": trace})
    send(client, trace_id=answer.removeprefix("chatcmpl-"), score=0.5)
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


def test_the_trace_is_taken_of_its_tenant(make_client: Callable[..., Client], folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    secrets = [add_key(path, name, tenant=name, scopes=["chat", "feedback"], rate=60) for name in ("acme", "rival")]
    ours, theirs = ({"authorization": f"Bearer {secret}"} for secret in secrets)
    client = make_client(feedback=FeedbackLog(folder), keys=KeyRing(path))
    reply = client.chat(headers=ours)
    trace = reply.json()["trace"]
    assert trace == reply.headers["x-sluice-trace"]
    assert send(client, theirs, trace_id=trace).status_code == 400
    assert send(client, ours, trace_id=trace).json() == {"object": "feedback", "id": trace}
    assert send(client, ours, trace_id="ab" * 16).json()["error"]["code"] == "unknown_answer"


@pytest.mark.parametrize(
    "forged",
    [
        {"trace_id": "f" * 48},
        {"trace_id": id_of(release="r-fedcba987654")},
        {"trace_id": id_of(), "release": "r-fedcba987654"},
        {"trace_id": id_of(tenant="acme")},
        {"trace_id": id_of(signing=b"another service")},
    ],
)
def test_weakness_6_a_forged_id_is_refused_uncounted(client: Client, folder: Path, forged: dict[str, Any]) -> None:
    response = send(client, **forged)
    assert (response.status_code, response.json()["error"]["code"]) == (400, "unknown_answer")
    assert not folder.exists()
    assert "sluice_feedback_total{" not in client.get("/metrics").text


def test_weakness_6_made_up_releases_do_not_fill_the_label(client: Client) -> None:
    for number in range(5):
        send(client, trace_id="e" * 48, release=f"r-{number:012x}")
    assert send(client, trace_id=id_of(release="r-aaaaaaaaaaaa"), release="r-aaaaaaaaaaaa").status_code == 200
    (line,) = [one for one in client.get("/metrics").text.splitlines() if one.startswith("sluice_feedback_total{")]
    assert 'answered_by="r-aaaaaaaaaaaa"' in line


def test_weakness_6_a_key_scores_an_answer_once_and_may_correct_it_twice(client: Client, folder: Path) -> None:
    statuses = [send(client, score=score).status_code for score in (0, 1, 0, 1, 1)]
    assert statuses == [200, 200, 200, 409, 409]
    assert send(client, trace_id=id_of("a" * 32), score=0).status_code == 200
    assert len(lines(folder)) == 4
    page = client.get("/metrics").text
    counted = [one for one in page.splitlines() if one.startswith("sluice_feedback_total{")]
    assert [(one.rpartition(" ")[2], 'mark="bad"' in one) for one in counted] == [("2.0", True)]


def test_another_replica_s_answer_is_taken(make_client: Callable[..., Client], folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    secret = add_key(path, "web", tenant="acme", scopes=["chat", "feedback"], rate=60)
    other = add_key(path, "other", tenant="rival", scopes=["chat", "feedback"], rate=60)
    here, there = make_client(feedback=FeedbackLog(folder), keys=KeyRing(path)), make_client(keys=KeyRing(path))
    answer = there.chat(headers={"authorization": f"Bearer {secret}"}).json()["id"]
    assert send(here, {"authorization": f"Bearer {secret}"}, trace_id=answer).status_code == 200
    assert send(here, {"authorization": f"Bearer {other}"}, trace_id=answer).status_code == 400
    assert path.stat().st_mode & 0o777 == 0o600


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
        ({"trace_id": "../../etc/passwd"}, "trace_id"),
        ({"score": 2}, "score"),
        ({"comment": "x" * 2001}, "comment"),
        ({"comments": "x"}, "comments"),
    ],
)
def test_what_is_refused(client: Client, folder: Path, fields: dict[str, Any], param: str) -> None:
    response = send(client, **fields)
    assert response.status_code == 400
    assert response.json()["error"]["param"].startswith(param)
    assert not folder.exists()


def test_a_failing_disk_is_503_and_chat_goes_on(client: Client, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder.write_text("a file where the folder should be")
    response = send(client)
    assert (response.status_code, response.json()["error"]["code"]) == (503, "feedback_unavailable")
    assert response.headers["retry-after"] == "60"
    assert str(folder) not in response.text
    assert str(folder) in caplog.text
    assert client.chat().status_code == 200


def test_weakness_9_a_torn_line_is_taken_back_and_the_next_one_is_whole(folder: Path) -> None:
    # A limit on the size of files fails a write in the middle, as a full disk does.
    code = f"""
import resource
from pathlib import Path
from sluice.serving.feedback import Feedback, FeedbackError, FeedbackLog
folder = Path({str(folder)!r})
log = FeedbackLog(folder)
said = [Feedback("2026-11-27", "r-0123456789ab", f"{{n:032x}}", 1.0, f"comment {{n}}", "web", None) for n in range(3)]
log.keep(said[0])
(path,) = folder.glob("*.jsonl")
resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 7, resource.RLIM_INFINITY))
try:
    log.keep(said[1])
except FeedbackError as error:
    print("refused")
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
log.keep(said[2])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("refused\n", "")
    assert [line["comment"] for line in lines(folder)] == ["comment 0", "comment 2"]


def test_it_is_handed_on_when_it_is_on_disk(make_client: Callable[..., Client], folder: Path) -> None:
    handed: list[Feedback] = []

    def forward(record: Feedback) -> None:
        assert lines(folder)[-1]["trace_id"] == record.trace_id
        handed.append(record)
        raise ConnectionError("the tracer is away")

    client = make_client(feedback=FeedbackLog(folder, forward))
    assert send(client).status_code == 200  # a failing tracer is not his business
    assert [(record.score, record.comment) for record in handed] == [(1.0, "")]
