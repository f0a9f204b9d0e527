"""Guards with cached verdicts: importing their libraries takes longer than a run without changes."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import sluice.guardrails
from sluice.core.digests import digest_of, digest_of_code, digest_of_file
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
        if (kept := record.read(self._cache, key)) is not None:
            return GuardOutcome(kept["text"], kept["blocked"], tuple(kept["reasons"]), kept.get("reask", False))
        began = time.perf_counter()
        found = await check()
        record.made(key)
        if BROKEN.isdisjoint(found.reasons):
            self._cache.put(key, asdict(found) | {"seconds": round(time.perf_counter() - began, 6)})
        return found


def guards_digest(bundle: ReleaseBundle) -> str:
    """Digest over the settings, the checks' code, the guard model, the prompts they keep, and the libraries."""
    code = digest_of_code(Path(sluice.guardrails.__file__).parent)
    libraries = {name: version(name) for name in ("guardrails-ai", "detect-secrets", "confusable-homoglyphs")}
    settings = {"settings": bundle.guardrails.model_dump(mode="json"), "code": code, "libraries": libraries}
    if bundle.guardrails.needs_model and bundle.guard is not None and bundle.guard.is_file():
        settings["model"] = digest_of_file(bundle.guard)
    if any(entry.check == "prompt_leak" for entry in bundle.guardrails.output):
        settings["prompts"] = {name: prompt.digest for name, prompt in bundle.prompts.items()}
    return digest_of(settings)
