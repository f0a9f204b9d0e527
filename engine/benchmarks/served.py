"""The service as it is deployed, in one process, in front of a stub upstream: keys, guards, limits, telemetry, log.

    .venv/bin/python engine/benchmarks/served.py chat|rag PORT UPSTREAM STATE     # started by service_speed.py

`chat` has three passages in memory where the search would be; `rag` embeds and searches for real, in the index of
STATE. All settings are those of config/ but for what is there for the small local model: the provider is hosted, and
reads whole passages. llama.cpp holds no chat model.
Needs the guard model (`sluice guard train`) where config/guardrails.yaml does.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from providers import entry

from sluice.core.extras import hooks
from sluice.core.settings import load_settings
from sluice.core.workspace import Workspace
from sluice.guardrails.check import GUARD_FILE, CheckResources
from sluice.guardrails.guards import Guards
from sluice.guardrails.settings import GuardrailSettings
from sluice.llm.model_files import ensure, load_models
from sluice.llm.resilience import open_chat
from sluice.llm.settings import PROMPT_ROLES, Providers
from sluice.prompts import load_prompts
from sluice.retrieval import Hit
from sluice.retrieval.embedder import Embedder
from sluice.retrieval.retriever import open_retriever
from sluice.retrieval.stores import Stores
from sluice.serving.auth import KeyRing
from sluice.serving.feedback import FeedbackLog
from sluice.serving.http_api import create_app
from sluice.serving.middleware import TrafficState
from sluice.serving.release_parts import ReleaseBundle
from sluice.serving.runner import ApplicationRunner
from sluice.serving.server import listen
from sluice.serving.settings import ServiceSettings
from sluice.serving.telemetry.service_log import logging_of
from sluice.serving.telemetry.settings import TelemetrySettings
from sluice.serving.telemetry.telemetry import open_telemetry

PASSAGE = (
    "Long documents are cut into chunks before they are embedded. Neighbouring chunks share 64 tokens, so that a "
    "sentence at a border is whole in one of them. Longer overlaps cost storage and bring the same text twice into the "
    "prompt; shorter ones lose what stands at the border. The release pins the chunker with the index."
)


class InMemory:
    """The same three passages for every question."""

    hits = tuple(Hit(f"doc{n}-0", f"doc{n}", "Chunking", PASSAGE, 0.03, 0.8) for n in range(3))

    def search(self, question: str, *, k: int, tenant: str | None = None) -> list[Hit]:  # noqa: ARG002
        return list(self.hits[:k])


def bundle_of(workspace: Workspace, upstream: str, state: Path) -> ReleaseBundle:
    embed = {"name": "local", "kind": "local", "model": "embed"}
    service = load_settings(workspace.config / "service.yaml", ServiceSettings)
    return ReleaseBundle(
        release="r-0123456789ab",
        prompts=load_prompts(workspace.prompts, roles=PROMPT_ROLES),
        index=state / "index",
        adapter=None,
        model=Path("stub.gguf"),
        embedder=ensure(load_models(workspace.config / "models.yaml").embed, workspace.cache),
        service=service.model_copy(update={"small_model": None}),
        guardrails=load_settings(workspace.config / "guardrails.yaml", GuardrailSettings),
        providers=Providers.model_validate({"chat": [entry(upstream)], "judge": [], "embed": [embed]}),
        manifest={},
    )


@contextmanager
def search_of(kind: str, bundle: ReleaseBundle, workspace: Workspace, state: Path, embedder: Embedder) -> Iterator[Any]:
    if kind == "chat":
        yield InMemory()
        return
    stores = load_settings(workspace.config / "stores.yaml", Stores)
    with open_retriever(bundle.index, embedder, stores, state) as retriever:
        yield retriever


def main(kind: str, port: int, upstream: str, state: Path) -> None:
    workspace = Workspace.find()
    bundle = bundle_of(workspace, upstream, state)
    telemetry = load_settings(workspace.config / "telemetry.yaml", TelemetrySettings)
    with (
        logging_of(telemetry.logs, bundle.release),
        open_telemetry(telemetry, bundle, state) as told,
        Embedder(bundle.embedder) as embedder,
        search_of(kind, bundle, workspace, state, embedder) as retriever,
    ):
        chat = open_chat(bundle.providers.chat, local_url=None)
        guard = workspace.build / "guard" / GUARD_FILE
        model = hooks("guard_model")["guard"](guard) if bundle.guardrails.needs_model else None
        instructions = tuple(each.content for each in bundle.prompts["answer"].messages if each.role == "system")
        guards = Guards(bundle.guardrails, CheckResources(model, embedder.embed, instructions))
        chain = ApplicationRunner(bundle, chat, retriever, guards)
        traffic = TrafficState()
        keys, feedback = KeyRing(state / "keys.json"), FeedbackLog(state / "feedback")
        app = create_app(bundle, chain, traffic, telemetry=told, providers=chat, keys=keys, feedback=feedback)
        listen(app, traffic, "127.0.0.1", port, drain_seconds=2, notice_seconds=0, before=chain.warm_up)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3], Path(sys.argv[4]))
