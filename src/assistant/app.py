"""The application: answers questions from the handbook. `config/project.yaml` names `build`.

    question → stand-alone question → passages → prompt → model

The engine does the rest around it: keys, limits, guards, deadlines, traces, citations, and the OpenAI-compatible API.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from assistant.condense import Condenser
from assistant.grammar import grammar
from sluice.extend import AnswerConstraint, Delta, Hit, ModelParameters, RequestState, Services, format_passages, render

# To the model whose answer a guard has refused.
AGAIN = "\n\nYour first answer was refused by a check ({}). Answer again, without what it found."


def build(services: Services) -> Assistant:
    """The application of a release; SluiceError when the release's prompts do not fit it."""
    return Assistant(services)


class Assistant:
    def __init__(self, services: Services) -> None:
        self._decline = services.settings.decline
        self._spans = services.settings.answers == "spans"
        self._prompt = services.prompt("answer", fills=("question", "passages", "decline"), needs=("question",))
        self._chat = services.chat("chat")
        self._retriever = services.retriever
        self._condenser = Condenser.of(services)

    async def stream(self, request: RequestState) -> AsyncGenerator[Delta, None]:
        """The model's answer in pieces; nothing where no passage is near the question."""
        question = await request.once("question", lambda: self._question(request))
        hits = await request.once("hits", lambda: self._retriever.search(request, question))
        if not hits:
            return
        passages = format_passages(hits)
        messages = render(request, self._prompt, question=question, passages=passages, decline=self._decline)
        if request.refused:
            messages[-1]["content"] += AGAIN.format(", ".join(request.refused))
        async with aclosing(self._chat.stream(request, messages, self._parameters(hits))) as deltas:
            async for delta in deltas:
                yield delta

    async def _question(self, request: RequestState) -> str:
        return await self._condenser.condense(request) if self._condenser else request.question

    def _parameters(self, hits: Sequence[Hit]) -> ModelParameters:
        """Those of the prompt; where answers are spans, with the grammar that holds a local model to the passages."""
        plain = self._prompt.parameters
        if not self._spans:
            return plain
        allowed = grammar([hit.text for hit in hits], self._decline)
        return AnswerConstraint.model_validate({**plain.model_dump(by_alias=True), "grammar": allowed})
