"""What is remembered, how much of it, and that nothing is which gave no verdict."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from sluice.guardrails.check import BoundedCache, CheckContext, CheckResources, Finding
from sluice.guardrails.guards import Guards
from sluice.guardrails.settings import GuardrailSettings
from support.guardrails import FakeGuardModel

DOUBTING = FakeGuardModel()


class Embedder:
    def __init__(self) -> None:
        self.asked: list[str] = []
        self.value = 0.0

    def __call__(self, texts: Sequence[str]) -> Any:
        self.asked += texts
        return np.full((len(texts), 2), self.value, np.float32)


def test_the_oldest_are_forgotten() -> None:
    memory: BoundedCache[int] = BoundedCache(2)
    for number, text in enumerate("abca"):
        memory[text] = number
    assert [text in memory for text in "abc"] == [True, False, True]
    assert (memory.get("a"), memory.get("b")) == (3, None)


def test_a_part_in_doubt_is_embedded_once() -> None:
    embed = Embedder()
    resources = CheckResources(DOUBTING, embed)
    first = CheckContext("Who is on call? Who is next?", resources)
    assert first.waits
    again = CheckContext("Who is on call? And who is not?", resources)
    assert again.waits
    assert first.attack == again.attack
    assert embed.asked.count("Who is on call?") == 1
    assert set(embed.asked) >= {"Who is on call? Who is next?", "Who is next?", "And who is not?"}
    assert not CheckContext("Who is on call? And who is not?", resources).waits


def test_an_embedding_that_gave_no_probability_is_asked_for_again() -> None:
    embed = Embedder()
    resources = CheckResources(DOUBTING, embed)
    embed.value = float("nan")
    for _ in range(2):
        with pytest.raises(ValueError, match="no probability"):
            _ = CheckContext("Who is on call?", resources).attack
    embed.value = 0.0
    _ = CheckContext("Who is on call?", resources).attack
    assert embed.asked == ["Who is on call?"] * 3


def test_no_verdict_on_a_question_or_an_answer_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    stages = {name: [{"check": "injection", "action": "block"}] for name in ("input", "output")}
    guards = Guards(GuardrailSettings.model_validate({"timeout_seconds": 60} | stages))
    for stage, check in ((guards._input, guards.check_input), (guards._output, guards.check_output)):
        assert not asyncio.run(check("Who is on call?")).blocked
        monkeypatch.setattr(stage._checks[0], "find", lambda seen: [Finding("injection.new", 0, len(seen.text))])
        assert asyncio.run(check("Who is on call?")).blocked
