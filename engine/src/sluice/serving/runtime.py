"""Opens the parts of a bundle in order: model, providers, embedder, store, guards, application."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from sluice.core.atomic_files import read_json
from sluice.core.errors import SluiceError
from sluice.core.extras import hooks
from sluice.guardrails.check import CheckResources, Checks, GuardModel
from sluice.guardrails.guards import Guards
from sluice.llm.chat import ChatProvider
from sluice.llm.llama_server import LocalServer
from sluice.llm.resilience import FallbackProvider, open_chat
from sluice.llm.settings import needs_local
from sluice.retrieval.embedder import Embedder
from sluice.retrieval.index_files import TextEncoder
from sluice.retrieval.retriever import Retriever, open_for_tenants, open_retriever
from sluice.retrieval.stores import Stores
from sluice.serving.release_parts import ReleaseBundle, require_prompt
from sluice.serving.runner import ApplicationRunner


def open_guards(bundle: ReleaseBundle, embedder: TextEncoder) -> Guards:
    model = _model(bundle) if bundle.guardrails.needs_model else None
    messages = bundle.prompts["answer"].messages if "answer" in bundle.prompts else ()
    system = [message.content for message in messages if message.role == "system"]
    return Guards(bundle.guardrails, CheckResources(model, embedder.embed, tuple(system)))


def _model(bundle: ReleaseBundle) -> GuardModel:
    load: Callable[[Path], GuardModel] | None = next(iter(hooks("guard_model").values()), None)
    if load is None:
        raise SluiceError(
            "config/guardrails.yaml: a check needs the guard model, and this project has left the extra `guard` out",
            remedy="take the check out of config/guardrails.yaml, or bring engine/src/sluice/extras/guard/ back "
            "with git",
        )
    if bundle.guard is None:
        raise SluiceError(
            f"release {bundle.release}: config/guardrails.yaml needs the guard model, and the release has none",
            remedy="make the release again: `make release`",
        )
    model = load(bundle.guard)
    served = read_json(bundle.index / "index.json")["embedder"]["sha256"]
    if model.embedder != served:
        raise SluiceError(
            f"{bundle.guard}: trained with the embedder {model.embedder[:16]}…, the release has {served[:16]}…",
            remedy="run the guard stage again: `sluice guard train`",
        )
    return model


@dataclass(frozen=True)
class Runtime:
    """`chat` is for the metrics; None if another model replaces the providers."""

    application: ApplicationRunner
    chat: FallbackProvider | None


@contextmanager
def open_model(bundle: ReleaseBundle, role: str = "chat") -> Iterator[FallbackProvider]:
    llm = bundle.service.llm
    # Traces and attempts name the model itself, where providers.yaml names its role.
    own = {"local": bundle.model.stem}
    for more in hooks("model_names").values():
        own |= more(bundle)
    specs = [one.model_copy(update={"model": own.get(one.kind, one.model)}) for one in getattr(bundle.providers, role)]
    with (
        LocalServer(bundle.model, adapter=bundle.adapter, threads=llm.threads, slots=llm.slots, context=llm.context)
        if needs_local(specs)
        else nullcontext() as server
    ):
        yield open_chat(specs, local_url=server.base_url if server else None)


@contextmanager
def open_search(bundle: ReleaseBundle, stores: Stores, state: Path, *, tenants: bool = False) -> Iterator[Retriever]:
    opening = open_for_tenants if tenants else open_retriever
    with Embedder(bundle.embedder) as embedder, opening(bundle.index, embedder, stores, state) as retriever:
        yield retriever


@contextmanager
def open_runtime(
    bundle: ReleaseBundle,
    stores: Stores,
    state: Path,
    *,
    stand_in: ChatProvider | None = None,
    guards: Checks | None = None,
) -> Iterator[Runtime]:
    require_prompt(bundle)
    with (
        nullcontext() if stand_in else open_model(bundle) as chat,
        open_search(bundle, stores, state, tenants=True) as retriever,
    ):
        answering = stand_in or chat
        assert answering is not None  # one of the two is there
        checks = guards or open_guards(bundle, retriever.embedder)
        yield Runtime(ApplicationRunner(bundle, answering, retriever, checks), chat)
