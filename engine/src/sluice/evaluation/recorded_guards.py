"""Guards with cached verdicts: importing their libraries takes longer than a run without changes."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from importlib.metadata import distributions, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import sluice.guardrails
from sluice.core.digests import digest_of, digest_of_code, digest_of_file
from sluice.core.extras import HERE, packages
from sluice.core.registry import APPLICATION
from sluice.evaluation.recorded_chat import current_asking
from sluice.evaluation.response_cache import ResponseCache
from sluice.guardrails.guards import BROKEN, GuardOutcome
from sluice.serving.contracts import Checks
from sluice.serving.release_parts import ReleaseBundle


class RecordedGuards:
    """`digest`: what decides about a verdict beside the text. A check that broke is not remembered."""

    def __init__(self, cache: ResponseCache, digest: str, guards: Callable[[], Checks]) -> None:
        self._cache = cache
        self._digest = digest
        self._guards = guards

    async def check_input(self, text: str) -> GuardOutcome:
        return await self._check("input", text, lambda: self._guards().check_input(text))

    async def check_passage(self, text: str) -> GuardOutcome:
        return await self._check("passages", text, lambda: self._guards().check_passage(text))

    async def check_output(self, text: str) -> GuardOutcome:
        return await self._check("output", text, lambda: self._guards().check_output(text))

    async def _check(self, stage: str, text: str, check: Callable[[], Awaitable[GuardOutcome]]) -> GuardOutcome:
        record = current_asking()
        key = digest_of({"guards": self._digest, "stage": stage, "text": text})
        if (kept := self._cache.get(key)) is not None:
            record.read(key, kept["seconds"], kept["seconds"])
            return GuardOutcome(kept["text"], kept["blocked"], tuple(kept["reasons"]), kept.get("reask", False))
        began = time.perf_counter()
        found = await check()
        record.made(key)
        if BROKEN.isdisjoint(found.reasons):
            self._cache.put(key, _kept(found, time.perf_counter() - began))
        return found


def _kept(found: GuardOutcome, seconds: float) -> dict[str, Any]:
    return {
        "text": found.text,
        "blocked": found.blocked,
        "reasons": list(found.reasons),
        "reask": found.reask,
        "seconds": round(seconds, 6),
    }


_LIBRARIES = ("guardrails-ai", "python-stdnum", "confusable-homoglyphs")


def _folders() -> Iterator[Path]:
    """Where checks and their models lie: the engine's, those of extras and of the application where these have some."""
    yield Path(sluice.guardrails.__file__).parent
    yield from (HERE / package.split(".")[-2] for package in packages("checks"))
    with suppress(ModuleNotFoundError):
        if (own := find_spec(f"{APPLICATION}.guardrails")) and own.origin:
            yield Path(own.origin).parent


def guards_digest(bundle: ReleaseBundle) -> str:
    """Digest over the settings, the checks' code, the guard model, the prompts they keep, and the libraries.

    A validator of another package may use any that is installed."""
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
