"""Help for a small model: what it is searched for, which sentences it sees, and when the application declines."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from langchain_core.documents import Document

from sluice.core.text import ALONE
from sluice.extras.small_model.evidence_reader import EvidenceReader
from sluice.extras.small_model.questions import Speller, bare, is_personal, leans
from sluice.retrieval import Hit
from sluice.retrieval.embedder import Embedder
from sluice.retrieval.markdown_chunks import is_structured
from sluice.retrieval.retriever import documents_of
from sluice.serving.passage_retriever import PassageRetriever, SearchResult
from sluice.serving.release_parts import ReleaseBundle
from sluice.serving.request_state import RequestState, current_request
from sluice.serving.settings import SmallModelSettings

_PIECE = re.compile(rf"(\s*)([{ALONE}]|[^\W{ALONE}]+|[^\w\s])")
_ENDS = frozenset(".,;:!?%)]}")  # no answer begins with these


class SmallModelAssistance:
    """The `small_model` and `answers: spans` of a release's config/service.yaml."""

    def __init__(self, bundle: ReleaseBundle, retriever: PassageRetriever) -> None:
        self._settings = bundle.service.small_model
        self._decline = bundle.service.decline if bundle.service.answers == "spans" else None
        self.retriever = retriever
        if self._settings:
            self._speller = Speller.of(bundle.index, bundle.embedder)
            parts = {name: getattr(retriever, name) for name in ("search", "guards", "settings", "vets")}
            self.retriever = SentenceRetriever(help=self._settings, embedder=bundle.embedder, **parts)

    async def find(self, question: str, turns: Sequence[dict[str, str]], *, alone: bool) -> SearchResult:
        settings = self._settings
        if not settings:
            passages = await self.retriever.ainvoke(question)
            return SearchResult(passages, limits=self._limits(passages, alone=alone))
        request = current_request()
        lines = [*(turn["content"] for turn in turns[-2:]), question]  # `And how long?` finds nothing
        passages, doubted = await request.once("small_model", lambda: self._found(settings, lines))
        limits = self._limits(passages, alone=alone)
        nearest = passages if settings.sentences else []
        if not (doubted and alone):
            quote = _quote(settings, nearest) if nearest and alone and self._decline is None else ""
            return SearchResult(passages, nearest, limits=limits, quote=quote)
        return SearchResult([], nearest, declines=not is_personal(question), limits=limits)

    async def _found(self, settings: SmallModelSettings, lines: list[str]) -> tuple[list[Document], bool]:
        """Return the passages for the last line, and whether they seem not to answer it."""
        request, search = current_request(), self.retriever.ainvoke
        lines = [self._speller.mend(bare(" ".join(line.split()))) for line in lines]
        question = lines[-1]
        if settings.max_doubt < 1 and self._speller.is_foreign(question):
            return [], True
        if leans(question) and (self._speller.knows(question) or await search(question)):
            passages = await search("\n".join(lines))
            if not request.doubted:
                return passages, False
        return await search(question), request.doubted

    def _limits(self, passages: Sequence[Document], *, alone: bool) -> dict[str, Any]:
        if self._decline is None or not alone:
            return {}
        return {"grammar": grammar([passage.page_content for passage in passages], self._decline)}


class SentenceRetriever(PassageRetriever):
    """Retrieves the best sentences instead of passages and sets `request.doubted`."""

    help: SmallModelSettings
    embedder: Path

    async def _aget_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:  # noqa: ARG002
        request = current_request()
        hits, request.doubted = await request.once(f"sentences for {query}", lambda: self._read(request, query))
        return documents_of(hits)

    async def _read(self, request: RequestState, question: str) -> tuple[list[Hit], bool]:
        hits = await self._near(request, question)
        read = partial(self._reader.read, question, hits, self.help.sentences)
        evidence = await request.in_time(asyncio.get_running_loop().run_in_executor(self._threads, read))
        request.trace.set("sluice.retrieval.doubt", round(evidence.doubt, 3))
        doubted = evidence.doubt > self.help.max_doubt and not request.warming
        return evidence.sentences if self.help.sentences else hits, doubted

    @cached_property
    def _reader(self) -> EvidenceReader:
        return EvidenceReader(getattr(self.search, "embedder", None) or Embedder(self.embedder))


def _quote(settings: SmallModelSettings, nearest: Sequence[Document]) -> str:
    """Return what is answered without a model: a list, a table or code that comes first, or with `quotes` all."""
    if settings.quotes:
        return "\n\n".join(dict.fromkeys(one.page_content for one in nearest))
    return nearest[0].page_content if is_structured(nearest[0].page_content) else ""


def grammar(passages: Sequence[str], decline: str) -> str:
    """The grammar of answers that are spans of the passages, or `decline`, in the form of llama.cpp (GBNF).

    A small model that was trained to copy still makes mistakes: a similar word, a number written out. Rule `r<n>` is
    what may follow the piece before it: nothing, or piece n and what may follow that."""
    begins = [_quoted(decline)]
    rules: list[str] = []
    for passage in passages:
        for gap, piece in _PIECE.findall(passage):
            following = f"r{len(rules) + 1}"
            if piece not in _ENDS:
                begins.append(f"{_begin(piece)} {following}")
            white = gap if "\n" in gap else gap and " "  # lines of code keep their indentation
            rules.append(f"r{len(rules)} ::= | {_quoted(white + piece)} {following}")
        rules.append(f'r{len(rules)} ::= ""')
    return "\n".join([f"root ::= {' | '.join(begins)}", *rules])


def _begin(piece: str) -> str:
    forms = {piece[0].upper(), piece[0].lower()}
    if len(forms) == 1 or any(len(form) > 1 for form in forms):  # ß has a large form of two letters
        return _quoted(piece)
    return f"[{''.join(sorted(forms))}] {_quoted(piece[1:])}"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
