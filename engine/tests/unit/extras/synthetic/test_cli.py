# ruff: noqa: F811 - a fixture that is imported is named by the tests
"""`sluice data generate`: what is published."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from sluice.core.workspace import Workspace
from support.serving.fakes import ScriptedChat, provider_entry
from unit.cli.published import here, run, server, there  # noqa: F401 - fixtures
from unit.data.conftest import git
from unit.github.fake_repository import FakeRepository


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
    monkeypatch.setattr("sluice.llm.fallback.open_chat", lambda _specs, *, local_url: scripted)  # noqa: ARG005
    status, out, err = run(capsys, "generate", "--rows", "1", "--publish")
    assert status == 0, err
    assert '"proposed": 1' in out
    (pull,) = there.pulls
    assert (pull["head"], pull["title"]) == ("generated", "Rows that a model proposes")
    (row,) = map(json.loads, git(server, "show", "generated:docs/proposals/generated/rows.jsonl").splitlines())
    assert (row["answers"], row["status"], row["provenance"]["teacher"]) == (["64 tokens"], "proposed", "stub/m")
