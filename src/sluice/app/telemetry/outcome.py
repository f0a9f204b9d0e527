"""What an answer came to, written into the trace of its request."""

from __future__ import annotations

from opentelemetry.semconv._incubating.attributes import gen_ai_attributes as gen_ai

from sluice.app.answer import Answer
from sluice.app.telemetry.traces import CHAT, Trace


def record(trace: Trace, answer: Answer, model: str) -> None:
    """`model`: what was asked where the answer does not say itself."""
    trace.set(gen_ai.GEN_AI_RESPONSE_FINISH_REASONS, (answer.finish_reason,))
    trace.set("sluice.declined", answer.declined)
    if answer.blocked:
        trace.set("sluice.blocked", answer.blocked)
    trace.set("sluice.citations", len(answer.citations))
    trace.text("output", [{"role": "assistant", "content": answer.text}])
    step = trace.find(CHAT)
    if step is None:  # declined or refused before the model was asked
        return
    step.set(gen_ai.GEN_AI_REQUEST_MODEL, answer.model or model)
    step.set(gen_ai.GEN_AI_PROVIDER_NAME, answer.provider or "local")
    step.set(gen_ai.GEN_AI_USAGE_INPUT_TOKENS, answer.usage.prompt_tokens)
    step.set(gen_ai.GEN_AI_USAGE_OUTPUT_TOKENS, answer.usage.completion_tokens)
    step.set(gen_ai.GEN_AI_RESPONSE_FINISH_REASONS, (answer.finish_reason,))
    if answer.cost is not None:
        step.set("sluice.cost", answer.cost)
    step.text("output", [{"role": "assistant", "content": answer.text}])
