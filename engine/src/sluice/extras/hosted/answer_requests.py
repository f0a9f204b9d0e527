"""Asks hosted models for pull requests: the only module that runs where the keys are."""

from __future__ import annotations

import asyncio
import base64
import logging
import os
import re
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sluice.core.atomic_files import read_json, write_json, write_jsonl
from sluice.core.errors import SluiceError
from sluice.core.settings import load_settings
from sluice.core.workspace import Workspace
from sluice.evaluation.replay import RecordedChat
from sluice.evaluation.response_cache import FOLDER, ResponseCache, asking
from sluice.extras.hosted.check_run import ANSWERS, AllowedRequest, check_requests
from sluice.extras.hosted.request_file import NAME, ProviderRequest, RefusedRequestsError
from sluice.extras.hosted.spend_ledger import SPEND, Spend
from sluice.llm.chat import ChatProvider, Delta, Messages
from sluice.llm.provider_failures import FailureKind, ProviderError
from sluice.llm.resilience import open_chat
from sluice.llm.settings import RemoteSpec
from sluice.prompts import ModelParameters
from sluice.serving.settings import ServiceSettings

_NUMBERED = re.compile(r"\\u([0-9a-fA-F]{4})")
_ROLE = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")  # of the sign-in to AWS, which the step that asks has
_MOST_FILE_BYTES = 256 << 20


class AnswersWithoutKeys:
    """A provider that drops any answer holding one of the `forbidden` forms of a key."""

    def __init__(self, inner: ChatProvider, forbidden: Sequence[str]) -> None:
        self._inner = inner
        self._forbidden = forbidden

    async def stream(
        self, messages: Messages, parameters: ModelParameters, *, deadline: float
    ) -> AsyncGenerator[Delta, None]:
        text, calls = "", dict[Any, str]()
        async with aclosing(self._inner.stream(messages, parameters, deadline=deadline)) as stream:
            async for delta in stream:
                text += delta.text
                for piece in delta.tool_calls:
                    index = piece.get("index")
                    said = (piece.get("id"), piece.get("name"), piece.get("args"))
                    calls[index] = calls.get(index, "") + "".join(part or "" for part in said)
                # The arguments of a call are JSON, in which each character may be written by its number.
                plain = [_NUMBERED.sub(lambda found: chr(int(found[1], 16)), one) for one in calls.values()]
                seen = [text.lower(), *(one.lower() for one in (*calls.values(), *plain))]
                if any(form in one for form in self._forbidden for one in seen):
                    raise ProviderError(FailureKind.GARBAGE, "an answer that holds a key")
                yield delta


def key_forms(key: str) -> list[str]:
    """The forms in which an answer may repeat a key, in lower case: plain, reversed, hex, percent-encoded, base64."""
    raw = key.encode()
    inner = [base64.b64encode(b"x" * skip + raw)[4 if skip else 0 : -4].decode() for skip in range(3)]
    return [form.lower() for form in (key, key[::-1], raw.hex(), quote(key, safe=""), *inner) if len(form) >= 6]


def ask_file(workspace: Workspace, file: Path | None, out: Path) -> str:
    """Ask the requests of a file, which is not trusted."""
    path = file or out / NAME
    if not path.is_file():
        raise SluiceError(f"{path}: no such file", remedy="`sluice eval --replay` writes build/requests.jsonl")
    if path.stat().st_size > _MOST_FILE_BYTES:
        raise RefusedRequestsError(f"{NAME}: too large", remedy="ask for less")
    allowed, new = check_requests(workspace, path.read_bytes())
    lines, dollars, without = answer(workspace, allowed)
    write_jsonl(out / ANSWERS, lines)
    reserved = out / SPEND
    if file is None and reserved.exists():
        write_json(reserved, asdict(replace(Spend(**read_json(reserved)), dollars=dollars)))
    return f"{len(lines)} answers, {len(new)} asked anew for {dollars:.4f} dollars; {without} without an answer."


def answer(workspace: Workspace, requests: Sequence[AllowedRequest]) -> tuple[list[dict[str, Any]], float, int]:
    """Answer requests from the cache or by their providers. Return lines, dollars, and the number without an answer."""
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
    """Ask one request and keep its response. Only the kind of a failure is printed: its message may hold anything."""
    messages, asked = request.asked()
    parameters = asked.model_copy(update={"seed": asked.seed - request.trial})  # recording adds the trial
    chat, deadline = RecordedChat(cache, [spec], lambda: model), asyncio.get_running_loop().time() + seconds
    with asking(request.trial):
        try:
            async with aclosing(chat.stream(messages, parameters, deadline=deadline)) as stream:
                async for _ in stream:  # what matters is recorded on the way
                    pass
        except ProviderError as error:
            print(f"{request.digest[:12]}: no answer: {error.failure.value}", file=sys.stderr)
        except SluiceError:
            raise
        except Exception as error:
            print(f"{request.digest[:12]}: no answer: {type(error).__name__}", file=sys.stderr)
