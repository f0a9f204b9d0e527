"""`sluice data ...` as people and workflows call it: in a checkout with a server to push to, and a fake GitHub."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
import yaml

from fakes import ScriptedChat, provider_entry
from sluice import cli
from sluice.cli import main
from sluice.core.workspace import Workspace
from sluice.data.policy import DataPolicy
from sluice.data.publish import push
from unit.data.conftest import git, make_checkout
from unit.extras.traffic.conftest import line, score
from unit.github.fake_github import REPOSITORY, WRITER, fake_github
from unit.github.fake_repository import FakeRepository


@pytest.fixture
def here(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """The miniature checkout with its data published, in it; no embedder is near."""
    # The miniature's one training row is an evaluation row too, which may not be published.
    row = {"id": "t1", "question": "Who minds the lamp at night?", "answers": [], "doc_ids": []}
    (workspace.data / "train.jsonl").write_text(json.dumps(row) + "\n")
    make_checkout(workspace.root, str(tmp_path / "store"), cache=tmp_path / "site")
    push(workspace, DataPolicy())
    git(workspace.root, "add", "--all")
    git(workspace.root, "commit", "--quiet", "--message", "Data")
    monkeypatch.chdir(workspace.root)
    for name in ("die_with_parent", "watch_parent"):
        monkeypatch.setattr(cli, name, lambda: None)
    monkeypatch.setattr(cli.signal, "signal", lambda *_: None)
    monkeypatch.setattr("sluice.extras.traffic.stage.embedder", lambda _: nullcontext(None))
    for name in ("SLUICE_TRAFFIC", "SLUICE_ARTEFACTS", "GITHUB_ACTIONS"):
        monkeypatch.delenv(name, raising=False)
    return workspace


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    capsys.readouterr()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["sluice", "data", *words])
        status = main()
    said = capsys.readouterr()
    return status, said.out, said.err


def test_a_check_tells_of_rows_that_a_gate_needs(here: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    gates = Path(__file__).parents[4] / "config" / "gates.yaml"
    (here.config / "gates.yaml").write_text(gates.read_text())
    (here.root / "pipelines").mkdir(exist_ok=True)
    (here.root / "pipelines" / "params.yaml").write_text("evaluate: {limit: 0}\n")
    status, out, err = run(capsys, "check", "--out", "report.json")
    assert (status, out) == (1, "")
    assert "config/gates.yaml: comparison.metrics.decline_accuracy needs 20 rows without answers" in err
    assert "config/gates.yaml: gate recall_at_5_floor needs 20 rows that name the documents" in err
    assert "-> add such rows to data/eval.jsonl" in err
    assert not (here.root / "report.json").exists(), "what did not pass leaves no report"
    document = yaml.safe_load(gates.read_text())
    for gate in document["gates"]:
        gate["min_samples"] = 1
    for metric in document["comparison"]["metrics"].values():
        metric["decides"] = "when_asked"
    (here.config / "gates.yaml").write_text(yaml.safe_dump(document))
    status, _, err = run(capsys, "check", "--out", "report.json")
    assert (status, (here.root / "report.json").exists()) == (0, True), err


def test_publishing_is_one_json_and_the_rest_goes_with_it(here: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "push")
    assert (status, json.loads(out)["sent"]) == (0, 0)
    assert json.loads(run(capsys, "verify")[1])["objects"] == json.loads(out)["objects"]
    path = here.data / "eval.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    difference = json.loads(run(capsys, "diff", "HEAD")[1])
    assert len(difference["eval.jsonl"]["removed"]) == 1
    assert "# Datasheet" in run(capsys, "card")[1]
    assert json.loads(run(capsys, "redact")[1]) == {"documents": 0, "rows": 0}
    assert json.loads(run(capsys, "gc")[1])["removable"] == []


def test_without_traffic_a_notice_says_so_and_nothing_fails(
    here: Workspace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("SLUICE_TRAFFIC", "")  # a variable of the repository that nobody has set
    status, out, _ = run(capsys, "drift")
    assert (status, out.startswith("::notice::no traffic is recorded")) == (0, True)
    assert not (here.build / "drift").exists()


def test_traffic_that_shifted_is_a_refusal_with_a_page(here: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"id": f"e{n}", "question": f"Short {n}?", "answers": [], "doc_ids": []} for n in range(60)]
    (here.data / "eval.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    folder = here.state / "traces"
    folder.mkdir(parents=True)
    asked = "And what, if I may ask at some length, would you say of that matter?"
    (folder / f"1-{os.getpid()}-1.jsonl").write_bytes(b"".join(line(n, asked) for n in range(60)))
    status, out, err = run(capsys, "drift")
    assert status == 3
    assert "words of a question" in err
    assert (here.build / "drift" / "drift.html").is_file()
    assert str(here.build / "drift" / "drift.html") in out


@pytest.fixture
def there(loopback: None) -> Iterator[FakeRepository]:  # noqa: ARG001 - opens the network to this machine
    with fake_github(FakeRepository()) as fake:
        assert isinstance(fake, FakeRepository)
        yield fake


@pytest.fixture
def server(here: Workspace, there: FakeRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the checkout pushes to; the fake GitHub is its GitHub."""
    server = tmp_path / "server.git"
    git(tmp_path, "init", "--quiet", "--bare", "--initial-branch", "main", str(server))
    git(here.root, "remote", "add", "origin", str(server))
    git(here.root, "push", "--quiet", "origin", "main")
    for name, value in (
        ("GITHUB_API_URL", there.url),
        ("GITHUB_REPOSITORY", REPOSITORY),
        ("GITHUB_TOKEN", WRITER),
    ):
        monkeypatch.setenv(name, value)
    return server


def test_a_harvest_is_a_branch_and_a_pull_request_that_a_person_decides(
    here: Workspace, there: FakeRepository, server: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    traces = tmp_path / "traffic"
    traces.mkdir()
    lines = [line(n, "Who runs the ferry?", declined=n == 1) for n in (1, 2)]
    (traces / "a.jsonl").write_bytes(b"".join([*lines, score(2, 0.0)]))
    before = git(here.root, "status", "--porcelain")
    status, out, err = run(capsys, "harvest", "--from", str(traces), "--publish")
    assert status == 0, err
    assert "branch pushed\npull request opened: " in out
    assert git(here.root, "status", "--porcelain") == before, "the working tree is not touched"
    (pull,) = there.pulls
    assert (pull["head"], pull["base"]) == ("harvest", "main")
    assert "Who runs the ferry?" in pull["body"]
    (row,) = map(json.loads, git(server, "show", "harvest:docs/proposals/rows.jsonl").splitlines())
    assert (row["question"], row["status"]) == ("Who runs the ferry?", "proposed")
    assert git(server, "diff", "--name-only", "main", "harvest").splitlines() == [
        "docs/proposals/README.md",
        "docs/proposals/rows.jsonl",
    ]
    assert "branch unchanged\npull request unchanged: " in run(capsys, "harvest", "--from", str(traces), "--publish")[1]


def test_what_a_teacher_writes_is_a_branch_and_a_pull_request_too(
    here: Workspace,
    there: FakeRepository,
    server: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (here.data / "eval.jsonl").write_text('{"id": "e", "question": "Who?", "answers": [], "doc_ids": []}\n')
    providers = here.config / "providers.yaml"
    document = yaml.safe_load(providers.read_text())
    document["teacher"] = [
        provider_entry(name="stub", kind="openai_compatible", model="m", base_url="http://127.0.0.1:1/v1")
    ]
    providers.write_text(yaml.safe_dump(document))
    wrote = '{"question": "How much do neighbouring pieces have in common?", "answer": "64 Tokens"}'
    scripted = ScriptedChat(
        {
            "Chunking\n</title>": wrote,
            "</title>\n<passage>\nA": "-",
            "</title>\n<passage>\nThe": "-",
            "in common?": "64 tokens",
        }
    )
    monkeypatch.setattr("sluice.llm.roles.open_chat", lambda _specs, *, local_url: scripted)  # noqa: ARG005
    status, out, err = run(capsys, "generate", "--rows", "1", "--publish")
    assert status == 0, err
    assert '"proposed": 1' in out
    (pull,) = there.pulls
    assert (pull["head"], pull["title"]) == ("generated", "Rows that a model proposes")
    (row,) = map(json.loads, git(server, "show", "generated:docs/proposals/generated/rows.jsonl").splitlines())
    assert (row["answers"], row["status"], row["provenance"]["teacher"]) == (["64 tokens"], "proposed", "stub/m")
