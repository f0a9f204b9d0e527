from collections.abc import Callable
from typing import Any

import pytest

from sluice.guardrails.guards import Guards
from sluice.serving.http_api import create_app
from sluice.serving.middleware import TrafficState
from sluice.serving.release_parts import ReleaseBundle
from sluice.serving.runner import ApplicationRunner
from support.serving.fakes import GUARDRAILS, HITS, REPLIES, NoChecks, ScriptedChat, ScriptedRetriever, scripted_bundle
from unit.llm.conftest import *  # noqa: F403 - scripted servers of models
from unit.serving.client import Client


@pytest.fixture(scope="session")
def guards() -> Guards:
    return Guards(GUARDRAILS)


@pytest.fixture
def bundle() -> ReleaseBundle:
    return scripted_bundle()


@pytest.fixture
def chat() -> ScriptedChat:
    return ScriptedChat(script=REPLIES)


@pytest.fixture
def retriever() -> ScriptedRetriever:
    return ScriptedRetriever(HITS)


@pytest.fixture
def make_chain(
    bundle: ReleaseBundle, retriever: ScriptedRetriever, guards: Guards
) -> Callable[[ScriptedChat], ApplicationRunner]:
    """A chain over the scripted retriever and the given chat model."""
    return lambda chat: ApplicationRunner(bundle, chat, retriever, guards)


@pytest.fixture
def chain(make_chain: Callable[[ScriptedChat], ApplicationRunner], chat: ScriptedChat) -> ApplicationRunner:
    return make_chain(chat)


@pytest.fixture
def run_build(monkeypatch: pytest.MonkeyPatch) -> Callable[..., ApplicationRunner]:
    """Runs what a builder gives, over a model or the script of one; `llm` are its settings in config/service.yaml."""

    def run(build: Any, chat: Any, *, guards: Any = None, **llm: Any) -> ApplicationRunner:
        monkeypatch.setattr("sluice.serving.contracts.load_build", lambda _: build)
        settings = {"threads": 1, "slots": 2, "context": 2048, "timeout_seconds": 600, **llm}
        model = ScriptedChat(chat) if isinstance(chat, dict) else chat
        return ApplicationRunner(scripted_bundle(llm=settings), model, ScriptedRetriever(HITS), guards or NoChecks())

    return run


@pytest.fixture
def traffic() -> TrafficState:
    return TrafficState()


@pytest.fixture
def make_client(
    bundle: ReleaseBundle,
    make_chain: Callable[[ScriptedChat], ApplicationRunner],
    chat: ScriptedChat,
    traffic: TrafficState,
) -> Callable[..., Client]:
    """Makes the service, over another model where one is given; `options` are those of `create_app`."""

    def make(model: ScriptedChat | None = None, **options: Any) -> Client:
        return Client(create_app(bundle, make_chain(model or chat), traffic, **options))

    return make


@pytest.fixture
def client(make_client: Callable[..., Client]) -> Client:
    return make_client()
