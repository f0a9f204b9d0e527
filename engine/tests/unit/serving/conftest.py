"""A small application around the scripted fakes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sluice.guardrails.guards import Guards
from sluice.serving.release_parts import ReleaseBundle
from sluice.serving.runner import ApplicationRunner
from support.serving.fakes import GUARDRAILS, HITS, REPLIES, ScriptedChat, ScriptedRetriever, scripted_bundle


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
