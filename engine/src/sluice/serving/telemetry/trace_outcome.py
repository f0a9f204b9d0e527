"""Writes the outcome of an answer into the trace of its request."""

from __future__ import annotations

from opentelemetry.semconv._incubating.attributes import gen_ai_attributes as gen_ai

from sluice.llm.chat import Delta, Usage
from sluice.serving.answer import Answer
from sluice.serving.telemetry.traces import CHAT, Trace, TraceStep


def record(trace: Trace, answer: Answer, said: Delta | None, model: str) -> None:
    """`said`: the end of the model's reply, None when there was none. `model`: what was asked where it does not say."""
    trace.set(gen_ai.GEN_AI_RESPONSE_FINISH_REASONS, (answer.finish_reason,))
    trace.set("sluice.declined", answer.declined)
    if answer.blocked:
        trace.set("sluice.blocked", answer.blocked)
    trace.set("sluice.citations", len(answer.citations))
    trace.text("output", [{"role": "assistant", "content": answer.text}])
    if (step := trace.find(CHAT)) is None:  # declined or refused before the model was asked
        return
    if said is None:
        record_call(step, Delta(), model)
    step.set(gen_ai.GEN_AI_RESPONSE_FINISH_REASONS, (answer.finish_reason,))
    step.text("output", [{"role": "assistant", "content": answer.text}])


def record_call(step: TraceStep, said: Delta, model: str) -> None:
    """Who was asked, and what it used; `said` and `model` as for `record`."""
    usage = said.usage or Usage(0, 0)
    step.set(gen_ai.GEN_AI_REQUEST_MODEL, said.model or model)
    step.set(gen_ai.GEN_AI_PROVIDER_NAME, said.provider or "local")
    step.set(gen_ai.GEN_AI_USAGE_INPUT_TOKENS, usage.prompt_tokens)
    step.set(gen_ai.GEN_AI_USAGE_OUTPUT_TOKENS, usage.completion_tokens)
    if said.cost is not None:
        step.set("sluice.cost", said.cost)
