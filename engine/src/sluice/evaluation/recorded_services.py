"""Search and guards behind the response cache: starting them takes longer than a run without changes."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
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
from sluice.evaluation.recorded_chat import current_asking
from sluice.evaluation.response_cache import ResponseCache
from sluice.guardrails.guards import BROKEN, GuardOutcome
from sluice.retrieval import Hit
from sluice.serving.contracts import Checks, Search
from sluice.serving.release_parts import ReleaseBundle


class RecordedSearch:
    """`digest`: what decides about the result beside the question; `k`: as many chunks are always kept, so that a
    look at more of them costs no second search. Called in threads, as the chain does. `embedder`: one that is open, for
    who reads the passages."""

    embedder: Any = None

    def __init__(self, cache: ResponseCache, digest: str, search: Callable[[], Search], *, k: int) -> None:
        self._cache = cache
        self._digest = digest
        self._search = search
        self._k = k

    def search(self, question: str, *, k: int, tenant: str | None = None) -> list[Hit]:
        """As Retriever.search, out of the cache where it can be."""
        record = current_asking()
        wide = max(k, self._k)
        key = digest_of({"search": self._digest, "question": question, "k": wide, "tenant": tenant})
        kept = record.read(self._cache, key)
        if kept is None:
            search = self._search()
            began = time.perf_counter()
            hits = search.search(question, k=wide, tenant=tenant)
            kept = {"hits": [asdict(hit) for hit in hits], "seconds": round(time.perf_counter() - began, 6)}
            self._cache.put(key, kept)
            record.made(key)
        return [Hit(**hit) for hit in kept["hits"]][:k]


def search_digest(bundle: ReleaseBundle) -> str:
    """Digest over the index, the embedder's file and the code that searches."""
    code = digest_of_code(Path(sluice.retrieval.__file__).parent)
    index = read_json(bundle.index / "index.json")["digest"]
    return digest_of({"index": index, "embedder": digest_of_file(bundle.embedder), "code": code})


class RecordedGuards:
    """`digest`: what decides about a verdict beside the text. A check that broke is not remembered."""

    def __init__(self, cache: ResponseCache, digest: str, guards: Callable[[], Checks]) -> None:
        self._cache = cache
        self._digest = digest
        self._guards = guards

    async def check_input(self, text: str, earlier: Sequence[str] = ()) -> GuardOutcome:
        return await self._check("input", text, lambda: self._guards().check_input(text, earlier), earlier)

    async def check_passage(self, text: str) -> GuardOutcome:
        return await self._check("passages", text, lambda: self._guards().check_passage(text))

    async def check_output(self, text: str) -> GuardOutcome:
        return await self._check("output", text, lambda: self._guards().check_output(text))

    async def _check(
        self, stage: str, text: str, check: Callable[[], Awaitable[GuardOutcome]], earlier: Sequence[str] = ()
    ) -> GuardOutcome:
        record = current_asking()
        key = digest_of({"guards": self._digest, "stage": stage, "text": text, "earlier": [*earlier]})
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
