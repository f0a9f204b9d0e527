"""Model, search and guards behind the response cache, which stores what they answer and replays it.

Failures and empty responses aren't stored. A fallback's answer is stored under the provider that gave it, so it never
replaces an answer of the first.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import distributions, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import sluice.guardrails
import sluice.retrieval
from sluice.core.atomic_files import read_json
from sluice.core.digests import digest_of, digest_of_code, digest_of_file
from sluice.core.extras import HERE, packages
from sluice.core.registry import APPLICATION
from sluice.evaluation.response_cache import CaseRequest, NotRecordedError, ResponseCache, current_asking
from sluice.guardrails.check import Checks, GuardOutcome
from sluice.guardrails.guards import BROKEN
from sluice.llm.chat import ChatProvider, Delta, Messages, Usage
from sluice.llm.provider_failures import FailureKind, ProviderError
from sluice.llm.settings import ProviderSpec, RemoteSpec
from sluice.prompts import ModelParameters
from sluice.retrieval import Hit, Search
from sluice.serving.release_parts import ReleaseBundle

# Keys that decide about no answer; a kind's own keys may. Of those named second, None stands for "not there".
_NOT_ASKED = {"timeouts", "retries", "max_concurrency", "breaker", "prices", "key_env"}
_ALWAYS = ("base_url", "base_url_env", "region", "integration")


def response_key(
    spec: ProviderSpec, messages: Messages, asked: ModelParameters, trial: int, model_digest: str = ""
) -> str:
    return digest_of(
        {
            "provider": dict.fromkeys(_ALWAYS) | spec.model_dump(mode="json", exclude=_NOT_ASKED),
            "model": model_digest,
            "messages": [dict(message) for message in messages],
            "parameters": asked.model_dump(mode="json"),
            "trial": trial,
        }
    )


@dataclass
class RecordedChat:
    """A model behind the cache; `chat` starts it at the first miss. With `replay` a miss raises NotRecordedError."""

    cache: ResponseCache
    specs: Sequence[ProviderSpec]  # of the role, in order
    chat: Callable[[], ChatProvider]
    model_digest: str = ""  # of the local model with its adapter
    replay: bool = False

    async def stream(
        self, messages: Messages, parameters: ModelParameters, *, deadline: float
    ) -> AsyncGenerator[Delta, None]:
        record = current_asking()
        asked = parameters.model_copy(update={"seed": parameters.seed + record.trial})
        key = self._key(self.specs[0], messages, asked, record.trial)
        if (kept := record.read(self.cache, key)) is not None:
            record.responses += 1
            record.kept += 1
            record.took = (kept["seconds"], kept["first_token_seconds"])
            yield Delta(kept["text"])
            for call in kept.get("tool_calls", ()):
                yield Delta(tool_calls=(call,))
            usage, prices = Usage(*kept["usage"]) if kept["usage"] else None, self.specs[0].prices  # those of today
            yield Delta("", kept["finish_reason"], usage, kept["provider"], kept["model"], prices.cost(usage))
            return
        if self.replay:
            if isinstance(self.specs[0], RemoteSpec):
                # Without its address: the workflow that asks finds the provider by name in its own settings.
                request = {"digest": key, "provider": self.specs[0].name, "trial": record.trial}
                request |= {"messages": [dict(message) for message in messages]}
                self.cache.note_missing(key, request | {"parameters": asked.model_dump(mode="json")})
            record.missed = f"no recorded response of {self.specs[0].name} (key {key[:12]})"
            raise NotRecordedError(record.missed, remedy="ask it where the provider can be reached, or fetch the cache")
        chat = self.chat()
        record.responses += 1
        taken = _RecordedStream()
        stream = chat.stream(messages, asked, deadline=deadline)
        async with aclosing(stream):
            try:
                async for delta in stream:
                    if taken.add(delta):
                        self._store(taken, messages, asked, record)
                    yield delta
            except GeneratorExit:
                # A guard has refused the beginning. The rest is still wanted, or this case would be asked every time.
                task = asyncio.current_task()
                began = time.perf_counter()
                if taken.last is None and task and not task.cancelling():
                    async for delta in stream:
                        if taken.add(delta):
                            self._store(taken, messages, asked, record)
                record.drained += time.perf_counter() - began
                raise

    def _store(self, taken: _RecordedStream, messages: Messages, asked: ModelParameters, record: CaseRequest) -> None:
        value = taken.value()
        who = next((spec for spec in self.specs if spec.name == value["provider"]), self.specs[0])
        key = self._key(who, messages, asked, record.trial)
        self.cache.put(key, value)
        record.took = (value["seconds"], value["first_token_seconds"])
        record.made(key)

    def _key(self, spec: ProviderSpec, messages: Messages, asked: ModelParameters, trial: int) -> str:
        return response_key(spec, messages, asked, trial, self.model_digest if spec.kind == "local" else "")


class _RecordedStream:
    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._text = ""
        self._calls: list[Any] = []
        self._first: float | None = None
        self._seconds = 0.0
        self.last: Delta | None = None

    def add(self, delta: Delta) -> bool:
        """Return whether the response is complete; raise ProviderError if it has neither text nor tool calls."""
        self._text += delta.text
        self._calls += delta.tool_calls
        if self._first is None:
            self._first = time.perf_counter() - self._began
        if delta.finish_reason is None:
            return False
        self._seconds = time.perf_counter() - self._began
        self.last = delta
        if not self._text.strip() and not self._calls:
            who = f"{delta.provider}: " if delta.provider else ""
            raise ProviderError(FailureKind.GARBAGE, f"{who}an empty response (finish reason {delta.finish_reason})")
        return True

    def value(self) -> dict[str, Any]:
        last = self.last or Delta()
        return {
            "text": self._text,
            **({"tool_calls": self._calls} if self._calls else {}),
            "finish_reason": last.finish_reason,
            "usage": [last.usage.prompt_tokens, last.usage.completion_tokens] if last.usage else None,
            "provider": last.provider,
            "model": last.model,
            "seconds": round(self._seconds, 6),
            "first_token_seconds": round(self._first or 0.0, 6),
            "asked": datetime.now(UTC).isoformat(timespec="seconds"),
        }


class RecordedSearch:
    """A search behind the cache. `k` chunks are always kept, so that a look at more of them costs no second search."""

    embedder: Any = None

    def __init__(self, cache: ResponseCache, digest: str, search: Callable[[], Search], *, k: int) -> None:
        self._cache = cache
        self._digest = digest
        self._search = search
        self._k = k

    def search(self, question: str, *, k: int, tenant: str | None = None) -> list[Hit]:
        record = current_asking()
        wide = max(k, self._k)
        key = digest_of({"search": self._digest, "question": question, "k": wide, "tenant": tenant})
        kept = record.read(self._cache, key)
        if kept is None:
            search, began = self._search(), time.perf_counter()
            hits = search.search(question, k=wide, tenant=tenant)
            kept = {"hits": [asdict(hit) for hit in hits], "seconds": round(time.perf_counter() - began, 6)}
            self._cache.put(key, kept)
            record.made(key)
        return [Hit(**hit) for hit in kept["hits"]][:k]


def search_digest(bundle: ReleaseBundle) -> str:
    code = digest_of_code(Path(sluice.retrieval.__file__).parent)
    index = read_json(bundle.index / "index.json")["digest"]
    return digest_of({"index": index, "embedder": digest_of_file(bundle.embedder), "code": code})


class RecordedGuards:
    """Guards behind the cache. A check that broke isn't remembered; `digest` is over all but the text."""

    def __init__(self, cache: ResponseCache, digest: str, guards: Callable[[], Checks]) -> None:
        self._cache = cache
        self._digest = digest
        self._guards = guards

    async def check_input(self, text: str, earlier: Sequence[str] = ()) -> GuardOutcome:
        return await self._check("input", text, lambda: self._guards().check_input(text, earlier), earlier)

    async def check_passage(self, text: str) -> GuardOutcome:
        return await self._check("passages", text, lambda: self._guards().check_passage(text))

    async def check_output(self, text: str, links: Sequence[str] = ()) -> GuardOutcome:
        return await self._check("output", text, lambda: self._guards().check_output(text, links), links)

    async def _check(
        self, stage: str, text: str, check: Callable[[], Awaitable[GuardOutcome]], beside: Sequence[str] = ()
    ) -> GuardOutcome:
        record = current_asking()
        key = digest_of({"guards": self._digest, "stage": stage, "text": text, "earlier": [*beside]})
        if (kept := record.read(self._cache, key)) is not None:
            return GuardOutcome(kept["text"], kept["blocked"], tuple(kept["reasons"]), kept.get("reask", False))
        began = time.perf_counter()
        found = await check()
        record.made(key)
        if BROKEN.isdisjoint(found.reasons):
            self._cache.put(key, asdict(found) | {"seconds": round(time.perf_counter() - began, 6)})
        return found


_LIBRARIES = ("python-stdnum", "confusable-homoglyphs")


def _folders() -> Iterator[Path]:
    yield Path(sluice.guardrails.__file__).parent
    yield from (HERE / package.split(".")[-2] for package in packages("checks"))
    with suppress(ModuleNotFoundError):
        if (own := find_spec(f"{APPLICATION}.guardrails")) and own.origin:
            yield Path(own.origin).parent


def guards_digest(bundle: ReleaseBundle) -> str:
    """Return a digest over all that decides a verdict; an external validator may use any installed library."""
    checks = bundle.guardrails
    external = any(entry.external for entry in (*checks.input, *checks.passages, *checks.output))
    names = {one.name for one in distributions()} if external else _LIBRARIES
    settings: dict[str, Any] = {
        "settings": checks.model_dump(mode="json"),
        "code": [digest_of_code(folder) for folder in _folders()],
        "libraries": {name: version(name) for name in sorted(names)},
    }
    if bundle.guardrails.needs_model and bundle.guard is not None and bundle.guard.is_file():
        settings["model"] = digest_of_file(bundle.guard)
    if any(entry.check == "prompt_leak" for entry in bundle.guardrails.output):
        settings["prompts"] = {name: prompt.digest for name, prompt in bundle.prompts.items()}
    return digest_of(settings)
