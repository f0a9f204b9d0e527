"""A bundle brought to life: model, embedder, store, guards and chain, closed again in the right order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sluice.app.bundle import Bundle
from sluice.app.chain import AnswerChain, require_prompt
from sluice.core.settings import load_settings
from sluice.core.workspace import Workspace
from sluice.guardrails import Guards
from sluice.llm.local import LocalServer
from sluice.llm.providers import chat_model
from sluice.retrieval.embedder import Embedder
from sluice.retrieval.retriever import Retriever, open_retriever
from sluice.retrieval.stores import Stores


@dataclass(frozen=True)
class Runtime:
    """What answers: the chain, and beside it the retriever it uses."""

    chain: AnswerChain
    retriever: Retriever


@contextmanager
def open_runtime(bundle: Bundle, workspace: Workspace) -> Iterator[Runtime]:
    """A release ready to answer. The vector store is that of the machine: `workspace` says where, the bundle what."""
    parameters = require_prompt(bundle).parameters
    llm = bundle.service.llm
    stores = load_settings(workspace.config / "stores.yaml", Stores)
    with (
        LocalServer(
            bundle.model, adapter=bundle.adapter, threads=llm.threads, slots=llm.slots, context=llm.context
        ) as server,
        Embedder(bundle.embedder) as embedder,
        open_retriever(bundle.index, embedder, stores, workspace.state) as retriever,
    ):
        chat = chat_model(server.base_url, timeout=llm.timeout_seconds, parameters=parameters)
        yield Runtime(AnswerChain(bundle, chat, retriever, Guards(bundle.guardrails)), retriever)
