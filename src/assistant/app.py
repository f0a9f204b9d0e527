"""The application: answers questions from the handbook. `config/project.yaml` names `build`.

    question → stand-alone question → passages → prompt → model

It is a Runnable of LangChain over {"messages": […]}. The engine does the rest around it: keys, limits, guards,
deadlines, traces, citations, and the OpenAI-compatible API.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from langchain_core.messages import BaseMessage, HumanMessage
from langchain_core.runnables import RunnableLambda

from assistant.condense import Condenser
from assistant.grammar import grammar
from sluice.extend import Application, Services, format_passages

# To the model whose answer a guard has refused.
AGAIN = "\n\nYour first answer was refused by a check ({}). Answer again, without what it found."


def build(services: Services) -> Application:
    """The application of a release; SluiceError when the release's prompts do not fit it."""
    decline = services.settings.decline
    prompt = services.prompt("answer", fills=("question", "passages", "decline"), needs=("question",))
    model = services.chat("chat", prompt, caller=("tools", "response_format"))
    condenser = Condenser.of(services)
    spans = services.settings.answers == "spans"

    async def answer(asked: dict[str, Any]) -> AsyncIterator[BaseMessage]:
        """The model's answer in pieces; nothing where no passage is near the question."""
        question = await condenser.condense() if condenser else asked["question"]
        passages = await services.retriever.ainvoke(question)
        own = services.request.options  # tools and a form of the answer, which are the caller's
        if not passages and own is None:
            return
        messages = prompt.format_messages(question=question, passages=format_passages(passages), decline=decline)
        if asked["refused"]:
            messages[-1] = HumanMessage(messages[-1].text + AGAIN.format(", ".join(asked["refused"])))
        # Where answers are spans, a grammar holds a local model to the passages.
        limits = {"grammar": grammar([one.page_content for one in passages], decline)} if spans and not own else {}
        async for piece in model.bind(**limits).astream([*messages, *(own.exchange if own else ())]):
            yield piece

    return RunnableLambda(answer)
