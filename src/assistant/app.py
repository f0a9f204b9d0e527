"""The application: answers questions from the handbook. `config/project.yaml` names `build`.

    question and earlier turns → passages → prompt → model, with tools where config/tools.yaml offers it some

It is a Runnable of LangChain over {"messages": […]}; the engine does the rest: keys, limits, guards, traces, the API.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from langchain_core.documents import Document
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.runnables import RunnableLambda

from assistant.grammar import grammar
from assistant.question import Condenser, Speller, allowed_turns, bare, earlier_turns, is_personal, leans
from sluice.extend import Application, Services, format_history, format_passages

AGAIN = "\n\nYour first answer was refused by a check ({}). Answer again, without what it found."
TOOLS, WELCOME = "tools", "welcome"  # the prompts of a model with tools, and where no passage is near
NEAREST = "What comes nearest:"
HELP = "I am an AI. I answer, in English, what the handbook says about running LLM applications."


def help_with(nearest: list[Document]) -> BaseMessage:
    """What follows `decline`: the two sentences that come nearest, which often answer, or else what is answered."""
    listed = "".join(f"\n{number}. {one.page_content}" for number, one in enumerate(nearest[:2], 1))
    return AIMessage(f"\n\n{NEAREST}\n{listed}" if listed else f"\n\n{HELP}")


def build(services: Services) -> Application:
    """The application of a release; SluiceError when the release's prompts do not fit it."""
    decline = services.settings.decline
    fills = ("question", "passages", "decline", "history")
    prompt = services.prompt("answer", fills=fills, needs=("question",))
    welcome = services.prompt(WELCOME, fills=fills, needs=("question",)) if WELCOME in services.prompts else None
    model = services.chat("chat", prompt, caller=("tools", "response_format"))
    tools = services.prompt(TOOLS, fills=fills, needs=("question",)) if TOOLS in services.prompts else None
    agent = services.agent(services.chat("chat", tools)) if tools else None
    condenser = Condenser.of(services)
    speller = Speller.of(services.bundle.index, services.bundle.embedder)

    async def history() -> list[dict[str, str]]:
        """Earlier turns; none where the question was made to stand alone."""
        limits = services.settings.condense
        if limits is None or condenser:
            return []
        return await allowed_turns(
            earlier_turns(services.request.messages, limits.turns), services, limits.max_characters
        )

    async def found(lines: list[str]) -> list[Document]:
        """Passages for a question, its last line; searched for with the lines before if it leans on them."""
        question, search = lines[-1], services.retriever.ainvoke
        if leans(question) and (speller.knows(question) or await search(question)):
            passages = await search("\n".join(lines))
            if not services.request.doubted:
                return passages
        return await search(question)

    async def answer(asked: dict[str, Any]) -> AsyncIterator[BaseMessage]:
        """The model's answer in pieces; where no passage seems to answer the question, it declines without a model."""
        question = await condenser.condense() if condenser else asked["question"]
        turns = await services.request.once("history", history)
        before = [turn["content"] for turn in turns[-2:]]  # `And how long?` finds nothing
        lines = [speller.mend(bare(" ".join(text.split()))) for text in (*before, question)]
        foreign = services.settings.retrieval.max_doubt < 1 and speller.is_foreign(lines[-1])
        passages = [] if foreign else await services.request.once("passages", lambda: found(lines))
        own = services.request.options  # tools and a form of the answer, which are the caller's
        acts = None if own else agent  # a caller who brings tools gets no others
        alone = not (own or acts)  # without tools, and in no form of the caller's
        chosen = tools if acts else prompt if passages or own else welcome
        if alone and (foreign or services.request.doubted):
            chosen = welcome if is_personal(question) else None  # the model would answer from what is shown
        spans, nearest = services.settings.answers == "spans", passages if services.settings.retrieval.sentences else []
        if chosen is None:
            yield AIMessage(decline)
            if not spans:
                yield help_with(nearest)
            return
        messages = chosen.format_messages(
            question=question, passages=format_passages(passages), decline=decline, history=format_history(turns)
        )
        if asked["refused"]:
            messages[-1] = HumanMessage(messages[-1].text + AGAIN.format(", ".join(asked["refused"])))
        limits = {"grammar": grammar([one.page_content for one in passages], decline)} if spans and alone else {}
        asks, said = acts or (model if chosen is prompt else services.chat("chat", chosen)), ""
        async for piece in asks.bind(**limits).astream([*messages, *(own.exchange if own else ())]):
            said += piece.text
            yield piece
        if said.strip() == decline and alone and not spans:
            yield help_with(nearest)

    return RunnableLambda(answer)
