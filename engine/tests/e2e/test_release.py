"""Whole releases in a clone of this repository, with the real model, database, proxy and load.

The tests follow one fork through its life and depend on their order.
"""

import html
import json
import re
import shutil
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

from sluice.core.processes import free_port, wait_until
from support.checkout import Checkout
from support.local_server import answers
from unit.release.stores import OF_EXTRAS, store_under_test

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(3600)]

INTERRUPTED = 130
ROOT = Path(__file__).parents[3]
# An answer_key that falls is called worse from 11 lost answers on, where nothing is gained: that takes so many cases.
SMALL: Mapping[str, Mapping[str, Any]] = {
    "evaluate": {"limit": 40, "workers": 2},
    "rehearsal": {"time_scale": 0.1, "cases": 32},
}
# The trained model ends before that, and the untouched one would write on for minutes.
LONGEST_ANSWER = "maxTokens: 64"


class Fork(Checkout):
    """A clone in which small but complete releases are made of the trained starter, by the project's own gates.

    One passage in each prompt is a fifth of the reading, which is most of the work of the model."""

    def __init__(self, folder: Path) -> None:
        super().__init__(ROOT, folder)
        self.edit("pipelines/params.yaml", self._few)
        self.edit("config/service.yaml", lambda service: service["retrieval"].update(k=1))
        self.edit("config/gates.yaml", self._small_sample)
        self.be_patient()
        self.edit_prompt("maxTokens: 160", LONGEST_ANSWER)
        self.commit("small")

    @staticmethod
    def _few(params: dict[str, Any]) -> None:
        for section, values in SMALL.items():
            params[section] |= values

    @staticmethod
    def _small_sample(gates: dict[str, Any]) -> None:
        # Champion and candidate are evaluated minutes apart, beside other tests: the clock is not what is tested here.
        next(gate for gate in gates["gates"] if gate["name"] == "latency_p95_sane")["limit"] = 100.0
        # The canary's visitors wait for longer answers than stable's, beside other tests: pairs then say less. A canary
        # that is made slow is slower than this, and there is no time for many pairs of it.
        for gate in gates["gates"]:
            if gate["name"] in ("canary_slowdown", "canary_ttft_slowdown"):
                gate["limit"] = 2.5
            if gate["stage"] == "load":
                gate["min_samples"] = 6
        gates["comparison"]["minimum_cases"] = 3  # of 16, a model of few steps and an untouched one answer fewer

    @property
    def releases(self) -> set[str]:
        return {path.name for path in (self.root / ".sluice" / "releases").glob("r-*")}

    def folder(self, name: str) -> Path:
        return self.root / ".sluice" / "releases" / name

    def edit_prompt(self, old: str, new: str) -> None:
        path = self.root / "prompts" / "answer.prompt.yml"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))


def released(output: str) -> str:
    found = re.search(r"^release\s+(r-[0-9a-f]{12})", output, re.MULTILINE)
    assert found, output
    return found[1]


@pytest.fixture(scope="module")
def fork(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fork]:
    made = Fork(tmp_path_factory.mktemp("fork") / "clone")
    yield made
    assert not made.left()


@pytest.fixture(autouse=True)
def unedited(fork: Fork) -> Iterator[None]:
    """Takes back what a test edits, so that one that fails leaves nothing to those behind it."""
    yield
    fork.git("checkout", "-q", "--", "prompts", "config", "pipelines/params.yaml")


def ended_in(fork: Fork, stage: str, how: signal.Signals) -> int:
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
        ("rehearse", signal.SIGKILL, True),  # by then the untouched model is live
    ],
)
def test_a_release_that_is_ended_leaves_nothing_behind(
    fork: Fork, stage: str, how: signal.Signals, champion: bool
) -> None:
    assert ended_in(fork, stage, how) == (INTERRUPTED if how == signal.SIGINT else -how)
    assert not fork.left()
    assert bool(fork.live) == champion


def test_the_first_release_picks_up_and_becomes_the_champion(fork: Fork) -> None:
    baseline = fork.live
    code, output = fork.run("release", "make")
    assert code == 0, output
    for stage in ("index", "train"):
        assert re.search(rf"{stage}\s+unchanged, taken from the cache", output)
    assert not re.search(r"^\s+baseline", output, re.MULTILINE)
    name = released(output)
    assert fork.live == name != baseline
    rehearsal = json.loads((fork.folder(name) / "rehearsal.json").read_text())
    assert rehearsal["verdict"] == "passed"
    assert [step["kind"] for step in rehearsal["steps"]].count("analysis") == 3
    assert rehearsal["traffic"]["requests"] > 0
    assert rehearsal["traffic"]["failures"] == {}
    report = (fork.folder(name) / "report.html").read_text()
    assert name in report
    assert report.count("<svg") >= 3
    assert 'src="http' not in report


@pytest.mark.parametrize("kind", list(OF_EXTRAS) or ["folder"])
def test_another_machine_serves_what_is_live(
    fork: Fork, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fresh clone needs nothing but the store, such as a registry with the record in git: both are real ones."""
    with store_under_test(kind, tmp_path) as store:
        monkeypatch.setenv("SLUICE_ARTEFACTS", store.address)
        for words in (("push", fork.live), ("promote", fork.live, "--env", "production")):
            assert fork.run("release", *words)[0] == 0
        other = Checkout(fork.root, tmp_path / "laptop")
        assert not other.live
        serve_and_ask(other, fork.live, "--live-in", "production")


def serve_and_ask(checkout: Checkout, release: str, *words: str) -> None:
    import httpx

    port = free_port()
    service = checkout.start("serve", "--port", str(port), *words)
    address = f"http://127.0.0.1:{port}"
    try:
        assert wait_until(lambda: answers(f"{address}/readyz"), seconds=600)
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
    process = psutil.Process(pid)
    found = [one for each in (process, *process.children(recursive=True)) for one in each.net_connections("tcp")]
    return {one.laddr.port for one in found if one.status == psutil.CONN_LISTEN}


def test_a_missing_model_file_is_named_and_changes_nothing(fork: Fork) -> None:
    champion, releases = fork.live, fork.releases
    path = fork.root / "config" / "models.yaml"
    text = path.read_text()
    assert "source: wheel:" in text
    path.write_text(text.replace("source: wheel:", "source: file:nowhere.gguf  # ", 1))
    code, output = fork.run("release", "make")
    assert code == 1, output
    assert "nowhere.gguf" in output
    assert "Traceback" not in output
    assert (fork.live, fork.releases) == (champion, releases)


def test_a_wrong_dvc_remote_is_named_and_changes_nothing(fork: Fork, tmp_path: Path) -> None:
    champion, releases = fork.live, fork.releases
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
    assert (fork.live, fork.releases) == (champion, releases)


def test_nothing_changed_says_so(fork: Fork) -> None:
    before = fork.live
    code, output = fork.run("release", "make")
    assert code == 0
    assert f"Nothing changed: {before} is live" in output
    assert fork.live == before


def test_a_prompt_that_ruins_answers_is_called_worse_before_it_is_merged(fork: Fork) -> None:
    before = fork.live
    fork.edit_prompt(LONGEST_ANSWER, "maxTokens: 1")  # every answer is cut after its first token
    code, output = fork.run("eval", "--base", "HEAD")
    assert code == 3, output
    assert re.search(r"^Worse: .*answer_key", output, re.MULTILINE)
    assert re.search(r"^broken: ", output, re.MULTILINE)
    for stage in ("index", "train"):
        assert len(re.findall(rf"{stage}\s+unchanged, taken from the cache", output)) == 2  # on both sides
    reports = fork.root / "build" / "comparison"
    assert json.loads((reports / "comparison.json").read_text())["verdict"] == "worse"
    for name in ("comment.md", "report.html"):
        assert "answer_key" in html.unescape((reports / name).read_text())  # the comment escapes underscores
    fork.edit_prompt("maxTokens: 1", LONGEST_ANSWER)
    code, output = fork.run("eval", "--base", "HEAD")
    assert (code, "Nothing to compare" in output) == (0, True), output
    assert fork.live == before


def test_a_prompt_that_ruins_answers_is_refused_by_the_gates(fork: Fork) -> None:
    before = fork.live
    fork.edit_prompt(LONGEST_ANSWER, "maxTokens: 1")  # every answer is cut after its first token
    code, output = fork.run("release", "make")
    assert code == 3, output
    assert "refused by the gates" in output
    assert re.search(r"gate comparison_answer_key: \w+ is [\d.]+ against 0\.\d+ of champion", output)
    assert re.search(r"train\s+unchanged, taken from the cache", output)
    assert fork.live == before
    assert not (fork.folder(released(output)) / "rehearsal.json").exists()


def test_a_slow_canary_is_stopped(fork: Fork) -> None:
    before = fork.live
    fork.change_what_serves()
    fork.edit("pipelines/params.yaml", lambda params: params["rehearsal"].update(cases=32))
    code, output = fork.run("release", "make", "--fault", "delay=8")
    assert code == 1, output
    assert "stopped by the canary" in output
    name = released(output)
    assert fork.live == before != name
    rehearsal = json.loads((fork.folder(name) / "rehearsal.json").read_text())
    assert re.search(r"gate canary_(slowdown|ttft_slowdown|total_p95): ", rehearsal["reason"])
    assert rehearsal["weights"][-1][1] == 0
    assert rehearsal["traffic"]["requests"] > 0
    assert not any(cause.startswith(("stable", "nobody")) for cause in rehearsal["traffic"]["failures"])
    assert not fork.left()


def test_a_release_is_rehearsed_where_there_is_no_data(fork: Fork) -> None:
    (stopped, *_) = sorted(
        name for name in fork.releases - {fork.live} if (fork.folder(name) / "rehearsal.json").exists()
    )
    data, away = fork.root / "data", fork.root / "away"
    data.rename(away)
    try:
        code, output = fork.run("rehearse", stopped, "--fault", "error=0.5")
    finally:
        away.rename(data)
    assert code == 1, output
    assert re.search(r"the canary r-\w+ was stopped: quality: the canary failed on '.+': .* status 503", output)
