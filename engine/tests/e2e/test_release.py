"""Whole releases in a clone of this repository, with the real model, database, proxy and load; small but complete.

The tests follow one fork through its life and depend on their order: a first release that is ended in every stage and
picked up, bad input of every kind, and a run with nothing to do.
"""

from __future__ import annotations

import json
import re
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from e2e.small_fork import Fork, released
from sluice.core.processes import free_port, wait_until
from support.checkout import Checkout
from unit.release.stores import OF_EXTRAS, store_under_test

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(3600)]

INTERRUPTED = 130


@pytest.fixture(scope="module")
def fork(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fork]:
    made = Fork(tmp_path_factory.mktemp("fork") / "clone")
    yield made
    assert not made.left()


def ended_in(fork: Fork, stage: str, how: signal.Signals) -> int:
    """Starts a release and ends it with `how` once it is in `stage`; its exit status."""
    process = fork.start("release", "make")
    assert process.stdout is not None
    for line in process.stdout:
        print(line, end="")
        if f"] {stage} " in line:
            time.sleep(2)
            process.send_signal(how)
            break
    else:
        pytest.fail(f"the release ended before {stage}")
    return process.wait(240)


@pytest.mark.parametrize(
    ("stage", "how", "champion"),
    [
        ("index", signal.SIGINT, False),
        ("baseline", signal.SIGKILL, False),
        ("evaluate", signal.SIGKILL, True),  # by then the untouched model is live
        ("rehearse", signal.SIGKILL, True),
    ],
)
def test_a_release_ended_in_any_stage_leaves_nothing_behind(
    fork: Fork, stage: str, how: signal.Signals, champion: bool
) -> None:
    assert ended_in(fork, stage, how) == (INTERRUPTED if how == signal.SIGINT else -how)
    assert not fork.left()
    assert bool(fork.champion) == champion


def test_the_first_release_picks_up_and_becomes_the_champion(fork: Fork) -> None:
    baseline = fork.champion
    code, output = fork.run("release", "make")
    assert code == 0, output
    for stage in ("index", "train"):
        assert re.search(rf"{stage}\s+unchanged, taken from the cache", output)
    assert not re.search(r"^\s+baseline", output, re.MULTILINE)
    name = released(output)
    assert fork.champion == name != baseline
    rehearsal = json.loads((fork.folder(name) / "rehearsal.json").read_text())
    assert rehearsal["verdict"] == "passed"
    assert [step["kind"] for step in rehearsal["steps"]].count("analysis") == 3
    assert rehearsal["traffic"]["requests"] > 0
    assert rehearsal["traffic"]["failures"] == {}
    report = (fork.folder(name) / "report.html").read_text()
    assert name in report
    assert report.count("<svg") >= 3
    assert 'src="http' not in report


def test_the_champion_answers_with_citations(fork: Fork) -> None:
    serve_and_ask(fork, fork.champion)


@pytest.mark.parametrize("kind", list(OF_EXTRAS) or ["folder"])
def test_another_machine_serves_what_is_live(
    fork: Fork, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fresh clone needs nothing but the store, such as a registry with the record in git: both are real ones."""
    with store_under_test(kind, tmp_path) as store:
        monkeypatch.setenv("SLUICE_ARTEFACTS", store.address)
        for words in (("push", fork.champion), ("promote", fork.champion, "--env", "production")):
            assert fork.run("release", *words)[0] == 0
        other = Checkout(fork.root, tmp_path / "laptop")
        assert not other.live
        serve_and_ask(other, fork.champion, "--live-in", "production")


def serve_and_ask(checkout: Checkout, release: str, *words: str) -> None:
    """Serves a release in a checkout, asks it a question of its data, and ends it."""
    import httpx

    port = free_port()
    service = checkout.start("serve", "--port", str(port), *words)
    address = f"http://127.0.0.1:{port}"
    try:
        assert wait_until(lambda: ready(address), seconds=600)
        row = next(
            json.loads(line)
            for line in (checkout.root / "data" / "train.jsonl").read_text().splitlines()
            if json.loads(line)["answers"]
        )
        body = {"model": "sluice", "messages": [{"role": "user", "content": row["question"]}]}
        reply = httpx.post(f"{address}/v1/chat/completions", json=body, timeout=600)
        assert reply.status_code == 200
        assert reply.headers["x-sluice-release"] == release
        assert reply.json()["release"] == release
        assert reply.json()["choices"][0]["message"]["content"]
        assert httpx.get(f"{address}/version", timeout=60).json()["release"] == release
        assert listening(service.pid) == {port}
        service.send_signal(signal.SIGTERM)
        assert service.wait(240) == 0
    finally:
        service.kill()


def listening(pid: int) -> set[int]:
    """TCP ports on which a process or one of its children takes connections."""

    process = psutil.Process(pid)
    found = [one for each in (process, *process.children(recursive=True)) for one in each.net_connections("tcp")]
    return {one.laddr.port for one in found if one.status == psutil.CONN_LISTEN}


def ready(address: str) -> bool:
    import httpx

    try:
        return httpx.get(f"{address}/readyz", timeout=10).status_code == 200
    except httpx.HTTPError:
        return False


@dataclass(frozen=True)
class BadInput:
    """One edit of a file, and what the release must say to it."""

    path: str
    old: str
    new: str
    says: str


BAD_INPUT = {
    "a prompt with an unknown key": BadInput(
        "prompts/answer.prompt.yml", "model: chat\n", "modle: chat\n", r"answer\.prompt\.yml:3: .*modle.*model"
    ),
    "a prompt with an unknown variable": BadInput(
        "prompts/answer.prompt.yml", "{{question}}", "{{qestion}}", r"answer\.prompt\.yml:\d+: .*qestion"
    ),
    "an empty row": BadInput("data/eval.jsonl", "{", "{}\n{", r"eval\.jsonl:1: "),
    "a malformed row": BadInput("data/train.jsonl", '{"id"', '{"id', r"train\.jsonl:1: "),
    "a missing model file": BadInput(
        "config/models.yaml", "source: wheel:", "source: file:nowhere.gguf  # ", r"nowhere\.gguf"
    ),
    "a sha256 that does not match": BadInput(
        "config/models.yaml", "source: wheel:", "source: file:README.md  # ", r"sha256"
    ),
}


@pytest.mark.parametrize("bad", BAD_INPUT.values(), ids=list(BAD_INPUT))
def test_bad_input_is_named_and_changes_nothing(fork: Fork, bad: BadInput) -> None:
    champion, releases = fork.champion, fork.releases
    path = fork.root / bad.path
    text = path.read_text()
    assert bad.old in text
    path.write_text(text.replace(bad.old, bad.new, 1))
    try:
        code, output = fork.run("release", "make")
    finally:
        path.write_text(text)
    assert code == 1, output
    assert re.search(bad.says, output, re.IGNORECASE | re.DOTALL), output
    assert "Traceback" not in output
    assert (fork.champion, fork.releases) == (champion, releases)


def test_a_wrong_dvc_remote_is_named_and_changes_nothing(fork: Fork, tmp_path: Path) -> None:
    champion, releases = fork.champion, fork.releases
    local = fork.root / ".dvc" / "config.local"
    local.write_text(f"[cache]\n    dir = {tmp_path}\n['remote \"starter\"']\n    url = ../nowhere\n")
    (fork.root / "data").rename(tmp_path / "data")
    try:
        code, output = fork.run("release", "make")
    finally:
        local.unlink()
        shutil.rmtree(fork.root / "data", ignore_errors=True)
        (tmp_path / "data").rename(fork.root / "data")
    assert code == 1, output
    assert re.search(r"data\.dvc: .*nowhere.*remote", output, re.DOTALL), output
    assert "Traceback" not in output
    assert (fork.champion, fork.releases) == (champion, releases)


def test_nothing_changed_says_so(fork: Fork) -> None:
    before = fork.champion
    code, output = fork.run("release", "make")
    assert code == 0
    assert f"Nothing changed: {before} is live" in output
    assert fork.champion == before
