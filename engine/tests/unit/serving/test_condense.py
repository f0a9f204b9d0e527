"""A call that prepares an answer has figures of its own in the trace: those of the starter's condensing. A project may
have removed it."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from sluice.guardrails.guards import Guards
from sluice.llm.chat import Delta, Messages
from sluice.prompts import ModelParameters, Prompt
from sluice.serving.answer import Usage
from sluice.serving.runner import ApplicationRunner
from sluice.serving.telemetry import traces
from sluice.serving.telemetry.telemetry import ProcessFacts
from support.serving.fakes import HITS, ScriptedRetriever, scripted_bundle
from support.telemetry.recording import RecordedTrace

pytest.importorskip("assistant.question")

CONDENSED = "How much overlap do chunks have?"
PROMPT: dict[str, Any] = {
    "name": "condense",
    "description": "for tests",
    "model": "chat",
    "modelParameters": {"maxTokens": 30},
    "messages": [{"role": "user", "content": "{{history}}\nLast: {{question}}"}],
    "variables": [{"name": "history"}, {"name": "question"}],
}
ON = {"enabled": True, "turns": 2, "max_characters": 40, "timeout_seconds": 60}
CONVERSATION = [
    {"role": "user", "content": "What are chunks?"},
    {"role": "assistant", "content": "Parts of documents."},
    {"role": "user", "content": "How much of them is shared?"},
]


class Model:
    """Condenses, then answers."""

    async def stream(self, _: Messages, parameters: ModelParameters, *, deadline: float) -> AsyncGenerator[Delta, None]:
        del deadline
        if parameters.max_tokens == 30:
            yield Delta(CONDENSED)
            yield Delta(finish_reason="stop", usage=Usage(7, 3), provider="p", model="m", cost=0.25)
        else:
            yield Delta("64 tokens")
            yield Delta(finish_reason="stop", usage=Usage(20, 2), provider="p", model="m", cost=0.5)


def test_each_call_has_its_own_figures_in_the_trace(guards: Guards) -> None:
    bundle = scripted_bundle(condense=ON)
    prompts = {"condense": Prompt.model_validate(PROMPT), **bundle.prompts}
    runner = ApplicationRunner(dataclasses.replace(bundle, prompts=prompts), Model(), ScriptedRetriever(HITS), guards)
    trace = RecordedTrace(contents=True)

    async def traced() -> None:
        token = traces.enter(trace)
        try:
            await runner.answer(CONVERSATION)
        finally:
            traces.leave(token)

    asyncio.run(traced())
    spans = trace.attributes_by_step(ProcessFacts("r", "answer", "0" * 64))
    assert [step.name for step in trace.steps[:3]] == ["guard input", "condense", "retrieve"]
    condense, chat = spans["condense"], spans["chat"]
    assert [a["gen_ai.usage.input_tokens"] for a in (condense, chat)] == [7, 20]
    assert [a["sluice.cost"] for a in (condense, chat)] == [0.25, 0.5]
    assert [a["gen_ai.prompt.name"] for a in (condense, chat)] == ["condense", "answer"]
    assert (condense["gen_ai.operation.name"], condense["sluice.condense.taken"]) == ("chat", True)
    assert spans["retrieve"]["gen_ai.retrieval.query.text"] == CONDENSED
