"""`sluice data generate` in a checkout: roles, what is kept for a run that was cut off, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from sluice.core.errors import SluiceError
from sluice.core.workspace import Workspace
from sluice.data.contract import check
from sluice.data.data_policy import PrivacyPolicy
from sluice.data.rows import Row, write_rows
from sluice.extras.curation.proposed_rows import PAGE, ROWS
from sluice.extras.synthetic.generate_rows import GenerationSettings
from sluice.extras.synthetic.generation_job import GenerationReport, run
from sluice.llm import fallback
from sluice.llm.provider_failures import FailureKind, ProviderError
from support.serving.fakes import ScriptedChat, provider_entry

QUESTION = "How much do neighbouring pieces have in common?"
WROTE = f'{{"question": "{QUESTION}", "answer": "64 tokens"}}'
CHUNKING, PAGING = "Chunking\n</title>", "Paging\n</title>"


@pytest.fixture
def checkout(workspace: Workspace) -> Workspace:
    """The miniature with a teacher; its evaluation asks about canaries only."""
    asked = Row(id="e", question="What gets a small share?", answers=("a canary",), doc_ids=("canary",))
    write_rows(workspace.data / "eval.jsonl", [asked])
    write_rows(workspace.data / "train.jsonl", [Row(id="t", question="Who is mayor?", answers=(), doc_ids=())])
    in_role(workspace, "teacher")
    return workspace


def in_role(workspace: Workspace, role: str) -> None:
    path = workspace.config / "providers.yaml"
    document = yaml.safe_load(path.read_text())
    document[role] = [
        provider_entry(name=f"a-{role}", kind="openai_compatible", model="m", base_url="http://127.0.0.1:1/v1")
    ]
    path.write_text(yaml.safe_dump(document))


def said(monkeypatch: pytest.MonkeyPatch, script: dict[str, str | Exception]) -> ScriptedChat:
    scripted = ScriptedChat({PAGING: "No."} | script)
    monkeypatch.setattr(fallback, "open_chat", lambda _specs, *, local_url: scripted)  # noqa: ARG005
    return scripted


def made(workspace: Workspace, checked_by: str = "teacher", **settings: int) -> GenerationReport:
    return run(workspace, GenerationSettings(**settings), PrivacyPolicy(), checked_by=checked_by)  # type: ignore[arg-type]


def test_a_proposed_row_keeps_the_contract_once_it_is_accepted(
    checkout: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat = said(monkeypatch, {CHUNKING: WROTE, QUESTION: "64 tokens."})
    proposed = made(checkout, seed=5)
    assert len(proposed.found.proposals) == 1
    assert "Written by a-teacher/m; prompt, document and seed" in proposed.files[PAGE]
    assert all("Canary" not in call["messages"][-1][1] for call in chat.calls), "evaluation asks about that article"
    assert {call["seed"] for call in chat.calls if CHUNKING in call["messages"][-1][1]} == {5}
    path = checkout.data / "train.jsonl"
    path.write_text(path.read_text() + proposed.files[ROWS])
    assert any("is only proposed" in str(fault) for fault in check(checkout.data).faults)
    path.write_text(path.read_text().replace(', "status": "proposed"', ""))
    assert check(checkout.data).faults == ()


def test_a_run_that_was_cut_off_asks_nobody_again(checkout: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    down = ProviderError(FailureKind.UNREACHABLE, "connection refused")
    said(monkeypatch, {CHUNKING: WROTE, QUESTION: down})
    with pytest.raises(SluiceError, match="could not be asked"):
        made(checkout)
    chat = said(monkeypatch, {CHUNKING: AssertionError("asked again"), QUESTION: "64 tokens"})
    assert len(made(checkout).found.proposals) == 1
    assert len(chat.calls) == 1
    again = said(monkeypatch, {})
    assert len(made(checkout).found.proposals) == 1
    assert again.calls == []


def test_another_role_may_find_the_answers_again(checkout: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    in_role(checkout, "judge")
    said(monkeypatch, {CHUNKING: WROTE, QUESTION: "64 tokens"})
    assert made(checkout, "judge").checker == "a-judge/m"


@pytest.mark.parametrize("role", ["judge", "embed", "nobody"])
def test_a_role_without_anybody_is_named(checkout: Workspace, role: str) -> None:
    with pytest.raises(SluiceError, match=f"no provider in the role {role}"):
        made(checkout, role)


def test_without_a_teacher_nothing_is_asked(workspace: Workspace) -> None:
    write_rows(workspace.data / "eval.jsonl", [Row(id="e", question="Who is mayor?", answers=(), doc_ids=())])
    with pytest.raises(SluiceError, match="no provider in the role teacher") as caught:
        made(workspace)
    assert "providers.md" in str(caught.value.remedy)
    assert not (Path(workspace.build) / "generated").exists()
