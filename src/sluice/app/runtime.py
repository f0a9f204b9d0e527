"""A bundle brought to life: model, embedder, store, guards and chain, closed again in the right order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sluice.app.bundle import Bundle
from sluice.app.chain import AnswerChain, require_prompt
from sluice.guardrails import Guards
from sluice.llm.local import LocalServer
from sluice.llm.providers import chat_model
from sluice.retrieval.embedder import Embedder
from sluice.retrieval.retriever import Retriever, open_retriever
from sluice.retrieval.stores import Stores


@dataclass(frozen=True)
class Runtime:
    """What answers, and its search for those who look closer (evaluation)."""

    chain: AnswerChain
    retriever: Retriever


@contextmanager
def open_runtime(bundle: Bundle, stores: Stores, state: Path) -> Iterator[Runtime]:
    """A release, ready to answer. `state`: the .sluice/ folder, where an embedded store lives."""
    parameters = require_prompt(bundle).parameters
    llm = bundle.service.llm
    with (
        LocalServer(
            bundle.model, adapter=bundle.adapter, threads=llm.threads, slots=llm.slots, context=llm.context
        ) as server,
        Embedder(bundle.embedder) as embedder,
        open_retriever(bundle.index, embedder, stores, state) as retriever,
    ):
        chat = chat_model(server.base_url, timeout=llm.timeout_seconds, parameters=parameters)
        yield Runtime(AnswerChain(bundle, chat, retriever, Guards(bundle.guardrails)), retriever)
