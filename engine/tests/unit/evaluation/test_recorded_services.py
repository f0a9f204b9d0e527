from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pytest

from sluice.core.atomic_files import write_json
from sluice.evaluation.recorded_chat import asking
from sluice.evaluation.recorded_services import RecordedGuards, RecordedSearch, guards_digest, search_digest
from sluice.evaluation.response_cache import ResponseCache
from sluice.guardrails.guards import GuardOutcome, Guards
from sluice.guardrails.settings import GuardrailSettings
from sluice.serving.release_parts import ReleaseBundle
from support.serving.fakes import HITS, ScriptedRetriever, ScriptMissError, scripted_bundle

QUESTION = "How much overlap do chunks have?"


def test_a_search_is_made_once_for_each_question_and_tenant(tmp_path: Path) -> None:
    inner = ScriptedRetriever(HITS)
    search = RecordedSearch(ResponseCache(tmp_path), "d", lambda: inner, k=5)
    with asking(0) as record:
        hits = search.search(QUESTION, k=1)
    assert hits == HITS[QUESTION][:1]
    assert (record.live, record.recorded, len(record.keys)) == (True, False, 1)
    with asking(0) as record:
        assert search.search(QUESTION, k=2) == HITS[QUESTION]
    assert (record.live, record.recorded) == (False, True)
    assert inner.asked == [(QUESTION, 5)]
    search.search(QUESTION, k=1, tenant="acme")
    search.search(QUESTION, k=6)
    assert (inner.asked[1:], inner.tenants[1:]) == ([(QUESTION, 5), (QUESTION, 6)], ["acme", None])


def test_a_search_that_fails_is_not_kept(tmp_path: Path) -> None:
    search = RecordedSearch(ResponseCache(tmp_path), "d", lambda: ScriptedRetriever({}), k=5)
    with pytest.raises(ScriptMissError):
        search.search(QUESTION, k=1)
    assert list(tmp_path.rglob("*.json")) == []


def bundle_of(folder: Path, *, index: str = "i", embedder: bytes = b"e") -> ReleaseBundle:
    write_json(folder / "index" / "index.json", {"digest": index})
    (folder / "embedder.gguf").write_bytes(embedder)
    return dataclasses.replace(scripted_bundle(), index=folder / "index", embedder=folder / "embedder.gguf")


def test_index_and_embedder_decide_about_a_search(tmp_path: Path) -> None:
    digests = [
        search_digest(bundle_of(tmp_path / "a")),
        search_digest(bundle_of(tmp_path / "b")),
        search_digest(bundle_of(tmp_path / "c", index="j")),
        search_digest(bundle_of(tmp_path / "d", embedder=b"f")),
    ]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


class Counting:
    """Redacts questions and blocks answers."""

    def __init__(self) -> None:
        self.checked: list[str] = []

    async def check_input(self, text: str, earlier: Sequence[str] = ()) -> GuardOutcome:
        self.checked.append(" ".join(["input", *earlier, text]))
        return GuardOutcome("redacted", False, ("personal_data.email",))

    async def check_output(self, text: str) -> GuardOutcome:
        self.checked.append(f"output {text}")
        return GuardOutcome("", True, ("secrets.key",))


def test_a_verdict_is_made_once_for_each_side(tmp_path: Path) -> None:
    inner = Counting()
    guards = RecordedGuards(ResponseCache(tmp_path), "d", lambda: inner)

    async def run() -> list[GuardOutcome]:
        return [check for _ in range(2) for check in (await guards.check_input("x"), await guards.check_output("x"))]

    with asking(0) as record:
        outcomes = asyncio.run(run())
    assert outcomes[:2] == outcomes[2:]
    assert outcomes[0] == GuardOutcome("redacted", False, ("personal_data.email",))
    assert outcomes[1] == GuardOutcome("", True, ("secrets.key",))
    assert inner.checked == ["input x", "output x"]
    assert (record.live, len(record.keys)) == (True, 4)


def test_a_question_is_checked_anew_behind_other_turns(tmp_path: Path) -> None:
    inner = Counting()
    guards = RecordedGuards(ResponseCache(tmp_path), "d", lambda: inner)
    with asking(0):
        for earlier in ((), ("a",), ("b",), ("a",)):
            asyncio.run(guards.check_input("x", earlier))
    assert inner.checked == ["input x", "input a x", "input b x"]


def test_settings_decide_about_a_verdict() -> None:
    bundle = scripted_bundle()
    check = [{"check": "injection", "action": "block"}]
    other = GuardrailSettings.model_validate({"input": check, "output": [{"check": "secrets", "action": "redact"}]})
    assert guards_digest(bundle) == guards_digest(scripted_bundle())
    assert guards_digest(bundle) != guards_digest(dataclasses.replace(bundle, guardrails=other))


def test_a_validator_from_a_wheel_gives_the_same_verdict_in_the_evaluation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of guardrails-ai-lowercase; another version of any package may give another."""
    fixes = GuardrailSettings.model_validate(
        {
            "input": [{"check": "injection", "action": "block"}],
            "output": [{"check": "guardrails/lowercase", "on_fail": "fix"}],
        }
    )
    bundle = dataclasses.replace(scripted_bundle(), guardrails=fixes)
    digest = guards_digest(bundle)
    guards = RecordedGuards(ResponseCache(tmp_path), digest, lambda: Guards(fixes))
    with asking(0):
        said = [asyncio.run(guards.check_output("It is Five.")) for _ in range(2)]
    assert said == [GuardOutcome("it is five.", False, ("guardrails/lowercase.failed",))] * 2
    assert guards_digest(bundle) == digest
    monkeypatch.setattr("sluice.evaluation.recorded_services.version", lambda name: f"another {name}")
    assert guards_digest(bundle) != digest
