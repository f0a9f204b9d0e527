"""The application: answers questions from the documents. `config/project.yaml` names `build`.

    question and earlier turns → passages → prompt → model, with tools where config/tools.yaml offers it some

It is a Runnable of LangChain over {"messages": […]}; the engine does the rest: keys, limits, guards, traces, the API.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from langchain_core.documents import Document
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.runnables import RunnableLambda

from sluice.extend import Application, Services, format_history, format_passages

AGAIN = "\n\nYour first answer was refused by a check ({}). Answer again, without what it found."
NEAREST = "What comes nearest:"
HELP = "I am an AI that answers from a set of documents. Try other words, or ask about something else."


def help_with(nearest: list[Document]) -> BaseMessage:
    """What follows `decline`: the two sentences that come nearest, which often answer, or else what to do."""
    stated = (one.page_content.replace("\n", "\n   ") for one in nearest[:2])  # further lines stay in their item
    listed = "".join(f"\n{number}. {one}" for number, one in enumerate(stated, 1))
    return AIMessage(f"\n\n{NEAREST}\n{listed}" if listed else f"\n\n{HELP}")


def build(services: Services) -> Application:
    """The application of a release; SluiceError when the release's prompts do not fit it."""
    decline, helps = services.settings.decline, services.settings.answers == "any"
    fills = ("question", "passages", "decline", "history")
    prompt = services.prompt("answer", fills=fills, needs=("question",))
    others = [name for name in ("welcome", "tools") if name in services.prompts]
    more = {name: services.prompt(name, fills=fills, needs=("question",)) for name in others}
    model = services.chat("chat", prompt, caller=("tools", "response_format"))
    agent = services.agent(services.chat("chat", more["tools"])) if "tools" in more else None
    conversation = services.conversation()

    async def answer(asked: dict[str, Any]) -> AsyncIterator[BaseMessage]:
        """The model's answer in pieces, or `decline` where there is nothing to answer from."""
        question, turns = await conversation.question(), await conversation.history()
        own = services.request.options  # tools and a form of the answer, which are the caller's
        acts = None if own else agent  # a caller who brings tools gets no others
        found = await services.find(question, turns, alone=not (own or acts))
        chosen = more["tools"] if acts else prompt if found.passages or own else more.get("welcome")
        if chosen is None or found.declines:
            yield AIMessage(decline)
            if helps:
                yield help_with(found.nearest)
            return
        if found.quote:
            yield AIMessage(found.quote)
            return
        messages = chosen.format_messages(
            question=question, passages=format_passages(found.passages), decline=decline, history=format_history(turns)
        )
        if asked["refused"]:
            messages[-1] = HumanMessage(messages[-1].text + AGAIN.format(", ".join(asked["refused"])))
        asks, said = acts or (model if chosen is prompt else services.chat("chat", chosen)), ""
        async for piece in asks.bind(**found.limits).astream([*messages, *(own.exchange if own else ())]):
            said += piece.text
            yield piece
        if said.strip() == decline and helps and not (own or acts):
            yield help_with(found.nearest)

    return RunnableLambda(answer)
