"""Asks hosted models what a pull request's job could not: the only module that runs where the keys are.

A request goes through the same code as in an evaluation with a key, so that its response is the same. An answer that
holds a key is dropped before it is kept anywhere.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Sequence
from typing import Any

from sluice.core.errors import SluiceError
from sluice.core.settings import load_settings
from sluice.core.workspace import Workspace
from sluice.evaluation.replay import RecordedChat
from sluice.evaluation.response_cache import FOLDER, ResponseCache, asking
from sluice.extras.hosted.answer_stream import AnswersWithoutKeys, drain, key_forms
from sluice.extras.hosted.request_check import AllowedRequest
from sluice.extras.hosted.request_file import ProviderRequest
from sluice.llm.chat import ChatProvider
from sluice.llm.provider_failures import ProviderError
from sluice.llm.resilience import open_chat
from sluice.llm.settings import RemoteSpec
from sluice.serving.settings import ServiceSettings

_ROLE = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")  # of the sign-in to AWS, which the step that asks has


def answer(workspace: Workspace, requests: Sequence[AllowedRequest]) -> tuple[list[dict[str, Any]], float, int]:
    """Answers requests: out of the response cache, else by their providers."""
    cache = ResponseCache(workspace.state / FOLDER)
    seconds = load_settings(workspace.config / "service.yaml", ServiceSettings).llm.timeout_seconds
    specs = {id(one.spec): one.spec for one in requests}
    named = {*_ROLE, *(spec.key_env for spec in specs.values() if spec.key_env)}
    keys = {os.environ.get(name, "") for name in named}
    forbidden = [form for key in keys if key for form in key_forms(key)]
    missing = [one for one in requests if cache.get(one.request.digest) is None]

    spent: list[float] = []
    guessed: list[float] = []

    def opened(spec: RemoteSpec) -> ChatProvider:
        most = max(one.most_dollars for one in missing if one.spec is spec) / (spec.retries + 1)
        model = open_chat([spec], local_url=None)
        model.observers.append(
            lambda attempt: guessed.append(most) if attempt.cost is None else spent.append(attempt.cost)
        )
        return AnswersWithoutKeys(model, forbidden)

    async def ask_all() -> None:
        models = {name: opened(spec) for name, spec in specs.items() if any(one.spec is spec for one in missing)}
        # More would wait in the provider's own queue, and fail when that takes too long.
        turns = {name: asyncio.Semaphore(specs[name].max_concurrency) for name in models}

        async def one_by_one(one: AllowedRequest) -> None:
            async with turns[id(one.spec)]:
                await _ask(cache, one.request, one.spec, models[id(one.spec)], seconds)

        await asyncio.gather(*(one_by_one(one) for one in missing))

    log = logging.getLogger("sluice.llm.resilience")
    log.disabled = True  # it says what a provider says of a failure, which may hold anything
    try:
        asyncio.run(ask_all())
    finally:
        log.disabled = False
    values = {one.request.digest: cache.get(one.request.digest) for one in requests}
    lines = [{"digest": digest, "value": value} for digest, value in values.items() if value is not None]
    # An attempt of unknown cost counts as the dearest, and all together as no more than was reserved; what a provider
    # has counted itself counts as it is.
    dollars = max(sum(spent), min(sum(spent) + sum(guessed), sum(one.most_dollars for one in missing)))
    return lines, dollars, len(requests) - len(lines)


async def _ask(
    cache: ResponseCache, request: ProviderRequest, spec: RemoteSpec, model: ChatProvider, seconds: float
) -> None:
    """Asks one request and keeps its response. What a provider says of a failure may hold anything, so only its kind is
    told."""
    messages, asked = request.asked()
    parameters = asked.model_copy(update={"seed": asked.seed - request.trial})  # recording adds the trial
    chat = RecordedChat(cache, [spec], lambda: model)
    with asking(request.trial):
        try:
            await drain(chat, messages, parameters, seconds)
        except ProviderError as error:
            print(f"{request.digest[:12]}: no answer: {error.failure.value}", file=sys.stderr)
        except SluiceError:
            raise
        except Exception as error:
            print(f"{request.digest[:12]}: no answer: {type(error).__name__}", file=sys.stderr)
