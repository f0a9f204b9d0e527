"""A chat provider in front of the response cache: recorded responses are replayed, others are requested and recorded.

The key of a response is a digest over the provider {kind, model, address, options}, the digest of the local model and
its adapter, the rendered messages, the parameters and tools, the seed and the trial. A fallback's answer is stored
under the provider that gave it, so it never replaces an answer of the first. Failures are not stored, and neither is an
empty response, which counts as one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sluice.core.digests import digest_of
from sluice.core.errors import SluiceError
from sluice.evaluation.response_cache import ResponseCache
from sluice.llm.chat import ChatProvider, Delta, Messages, Usage
from sluice.llm.provider_failures import FailureKind, ProviderError
from sluice.llm.settings import ProviderSpec, RemoteSpec
from sluice.prompts import ModelParameters

# Keys that decide about no answer; a kind's own keys may. Of those named second, None stands for "not there".
_NOT_ASKED = {"timeouts", "retries", "max_concurrency", "breaker", "prices", "key_env"}
_ALWAYS = ("base_url", "base_url_env", "region", "integration")


class NotRecordedError(SluiceError):
    """A request in replay that is not in the cache."""


class NotStartedError(SluiceError):
    """The application cannot start, so every other case would fail too."""


@dataclass
class CaseRequest:
    """One case and trial while it is asked. `trial` is told to the recorders; the rest they tell back.

    `keys`: of the entries that were read or made, in order. `live`: something was made anew. `responses`: of models,
    `kept` of them out of the cache. Seconds of what was read: of the whole, and until the first token. `took`: the same
    two of the last response, now or when it was asked. `drained`: seconds spent on the rest of a response that nobody
    waits for. `missed`: what replay did not find.
    """

    trial: int = 0
    keys: list[str] = field(default_factory=list)
    live: bool = False
    responses: int = 0
    kept: int = 0
    seconds: float = 0.0
    first_token_seconds: float = 0.0
    took: tuple[float, float] = (0.0, 0.0)
    drained: float = 0.0
    missed: str = ""

    @property
    def recorded(self) -> bool:
        """Whether a time of this case is one of the past."""
        return self.kept > 0 or (bool(self.keys) and not self.live)

    def read(self, cache: ResponseCache, key: str) -> dict[str, Any] | None:
        """An entry of the cache, whose times are those of this case now; None when there is none."""
        if (kept := cache.get(key)) is not None:
            self.keys.append(key)
            self.seconds += kept["seconds"]
            self.first_token_seconds += kept.get("first_token_seconds", kept["seconds"])
        return kept

    def made(self, key: str) -> None:
        """An entry that was made anew."""
        self.keys.append(key)
        self.live = True


_ASKING: ContextVar[CaseRequest | None] = ContextVar("asking", default=None)


@contextmanager
def asking(trial: int) -> Iterator[CaseRequest]:
    """What is asked inside, also in threads that are started inside, belongs to this trial."""
    record = CaseRequest(trial)
    token = _ASKING.set(record)
    try:
        yield record
    finally:
        _ASKING.reset(token)


def current_asking() -> CaseRequest:
    return _ASKING.get() or CaseRequest()


def times(
    cache: ResponseCache, record: CaseRequest, latency_ms: float, ttft_ms: float | None
) -> tuple[float, float | None]:
    """Milliseconds of a whole answer and until its first text, given what was measured now.

    An answer that was put together from the cache alone has the times of when it was asked: they are kept beside. Else
    the time of what was read is added to what was measured.
    """
    key = digest_of({"times": sorted(record.keys)})  # a sentence is checked before the response is whole, or after
    if record.keys and not record.live and (kept := cache.get(key)) is not None:
        return kept["latency_ms"], kept["ttft_ms"]
    latency_ms += (record.seconds - record.drained) * 1000
    ttft_ms = None if ttft_ms is None else ttft_ms + record.first_token_seconds * 1000
    if record.keys:
        cache.put(key, {"latency_ms": latency_ms, "ttft_ms": ttft_ms})
    return latency_ms, ttft_ms


def response_key(
    spec: ProviderSpec, messages: Messages, asked: ModelParameters, trial: int, model_digest: str = ""
) -> str:
    """The key of a response, in hex."""
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
    """`specs`: the providers of the role, in order; `model_digest`: of the local model with its adapter.

    `chat` is called for each request that is not in the cache: without such a request the model never starts. With
    `replay` it never is, and such a request raises NotRecordedError.
    """

    cache: ResponseCache
    specs: Sequence[ProviderSpec]
    chat: Callable[[], ChatProvider]
    model_digest: str = ""
    replay: bool = False

    async def stream(
        self, messages: Messages, parameters: ModelParameters, *, deadline: float
    ) -> AsyncGenerator[Delta, None]:
        """The recorded response, else that of the provider, which is recorded."""
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
            yield self._last(kept)
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

    def _last(self, kept: dict[str, Any]) -> Delta:
        """The cost is by the prices of today."""
        usage = Usage(*kept["usage"]) if kept["usage"] else None
        prices = self.specs[0].prices
        return Delta("", kept["finish_reason"], usage, kept["provider"], kept["model"], prices.cost(usage))


class _RecordedStream:
    """A response while it comes in. Times count from here on."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._text = ""
        self._calls: list[Any] = []
        self._first: float | None = None
        self._seconds = 0.0
        self.last: Delta | None = None

    def add(self, delta: Delta) -> bool:
        """Whether the response is whole now. ProviderError when it is whole and has neither text nor tool calls."""
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
