"""The two model requests of a generation: write questions about a passage, and answer a question from it."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Protocol

from sluice.extras.synthetic.source_passages import SourcePassage
from sluice.llm.chat import ChatProvider
from sluice.llm.settings import ProviderSpec
from sluice.prompts import Prompt
from sluice.retrieval import Hit, format_passages


@dataclass(frozen=True)
class TeacherReply:
    """`by`: who gave it, as provider/model; a fallback may have."""

    text: str
    by: str


class GenerationModels(Protocol):
    """What generate_rows.py needs. Both raise ProviderError."""

    @property
    def concurrency(self) -> int:
        """Passages that may be under way together."""
        ...

    async def write(self, passage: SourcePassage, count: int) -> TeacherReply:
        """The teacher's."""
        ...

    async def answer(self, passage: SourcePassage, question: str) -> TeacherReply:
        """That of the model that checks, given the passage alone."""
        ...


@dataclass
class TeacherRole:
    """Models that answer one prompt. `seconds`: for a reply; as many at a time as the first provider allows."""

    chat: ChatProvider
    prompt: Prompt
    specs: tuple[ProviderSpec, ...]
    seconds: float
    _turns: asyncio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        self._turns = asyncio.Semaphore(self.concurrency)

    @property
    def concurrency(self) -> int:
        return self.specs[0].max_concurrency

    @property
    def names(self) -> str:
        """Who answers, the first one first; another only where that one fails."""
        return ", ".join(f"{spec.name}/{spec.model}" for spec in self.specs)

    async def ask(self, *, seed: int | None = None, **values: object) -> TeacherReply:
        parameters = self.prompt.parameters
        if seed is not None:
            parameters = parameters.model_copy(update={"seed": seed})
        async with self._turns:
            deadline = asyncio.get_running_loop().time() + self.seconds
            stream = self.chat.stream(self.prompt.render(**values), parameters, deadline=deadline)
            async with aclosing(stream):
                said = [delta async for delta in stream]
        last = said[-1]
        by = f"{last.provider}/{last.model}" if last.provider else self.names
        return TeacherReply("".join(delta.text for delta in said), by)


@dataclass
class TeacherRoles:
    """A teacher and a model that checks. `decline`: what the latter says where it finds no answer."""

    teacher: TeacherRole
    checker: TeacherRole
    decline: str
    seed: int

    @property
    def concurrency(self) -> int:
        return self.teacher.concurrency

    async def write(self, passage: SourcePassage, count: int) -> TeacherReply:
        return await self.teacher.ask(seed=self.seed, title=passage.document.title, passage=passage.text, count=count)

    async def answer(self, passage: SourcePassage, question: str) -> TeacherReply:
        document = passage.document
        hit = Hit(chunk_id="", doc_id=document.id, title=document.title, text=passage.text, score=0.0, similarity=0.0)
        return await self.checker.ask(passages=format_passages([hit]), question=question, decline=self.decline)
