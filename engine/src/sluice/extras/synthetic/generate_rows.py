"""Generates proposed rows from passages: written by a teacher, filtered, deduplicated, answered again.

A question is kept when its answer is a span of its passage, when it is not a near duplicate of an existing question,
and when a model that gets only the passage and the question finds that answer again. Runs as `sluice data generate`.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sluice.core.errors import SluiceError
from sluice.data.data_policy import PrivacyPolicy
from sluice.data.near_duplicates import repeats_across, repeats_within
from sluice.data.rows import Document, Provenance, Row
from sluice.evaluation.answer_text import token_f1
from sluice.extras.synthetic.question_filters import QuestionCandidate, fault, read_reply, span
from sluice.extras.synthetic.source_passages import SourcePassage
from sluice.extras.synthetic.teacher_models import GenerationModels, TeacherReply
from sluice.llm.provider_failures import FailureKind, ProviderError

_TAG = "generated"
# What a provider will not or cannot say of one passage. Anything else would fail of the next one too, and ends the run.
_OF_ONE_PASSAGE = (FailureKind.REFUSED, FailureKind.GARBAGE)


@dataclass(frozen=True)
class GenerationSettings:
    """`rows`: proposals that are wanted; `each`: questions that are asked for of one passage; `most_words`: of an
    answer; `agreement`: token F1 that the answer found again must have; `minutes`: then it ends with what there is."""

    rows: int = 50
    each: int = 3
    seed: int = 1
    most_words: int = 12
    agreement: float = 0.6
    minutes: float = 30.0


@dataclass(frozen=True)
class GeneratedRow:
    """A row to read, the passage it is from, what the model that checks answered, and the token F1 of that."""

    row: Row
    passage: SourcePassage
    found: str
    agreement: float


@dataclass
class GenerationResult:
    """`left_out`: questions, or whole replies, by why they are not proposed; `passages`: how many were used."""

    proposals: list[GeneratedRow] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    passages: int = 0


def generate(
    passages: Sequence[SourcePassage],
    known: Sequence[Row],
    models: GenerationModels,
    prompt: str,
    settings: GenerationSettings,
    policy: PrivacyPolicy,
    on_progress: Callable[[int, int], None] = lambda _done, _wanted: None,
    *,
    clock: Callable[[], float] = time.monotonic,
) -> GenerationResult:
    """Proposals until there are `settings.rows`, in the order of the passages. `known`: rows that are not proposed
    again; `prompt`: the digest of the teacher's. With the same answers of the models the result is the same, however
    quick each of them was.

    SluiceError when a provider fails, and when nothing survives.
    """
    run = _GenerationRun(known, models, prompt, settings, policy, on_progress, clock)
    try:
        found = asyncio.run(run.over(passages))
    except ProviderError as error:
        raise SluiceError(
            f"a model could not be asked: {error.message}",
            remedy="nothing was written; run the same command to continue where it stopped",
        ) from error
    if not found.proposals:
        why = "".join(f"\n  {number} × {what}" for what, number in found.left_out.most_common())
        raise SluiceError(
            f"nothing survived of what was written about {found.passages} passages:{why}",
            remedy="try another teacher in config/providers.yaml, another --seed, or edit prompts/generate.prompt.yml",
        )
    return found


class _GenerationRun:
    def __init__(
        self,
        known: Sequence[Row],
        models: GenerationModels,
        prompt: str,
        settings: GenerationSettings,
        policy: PrivacyPolicy,
        on_progress: Callable[[int, int], None],
        clock: Callable[[], float],
    ) -> None:
        self._known, self._models, self._prompt = known, models, prompt
        self._settings, self._policy, self._on_progress, self._clock = settings, policy, on_progress, clock
        self._found = GenerationResult()

    async def over(self, passages: Sequence[SourcePassage]) -> GenerationResult:
        found, wanted = self._found, self._settings.rows
        ends = self._clock() + self._settings.minutes * 60
        size = self._models.concurrency
        for start in range(0, len(passages), size):
            if len(found.proposals) >= wanted:
                break
            if self._clock() >= ends:
                found.left_out["passages that were not reached in time"] += len(passages) - start
                break
            batch = passages[start : start + size]
            found.passages += len(batch)
            drafts = self._fresh(await self._drafts(batch))
            answers = await asyncio.gather(*(_said(self._models.answer(p, row.question)) for p, row in drafts))
            for (passage, row), answer in zip(drafts, answers, strict=True):
                self._judge(passage, row, answer)
            found.left_out["more than were wanted"] += len(found.proposals[wanted:])
            del found.proposals[wanted:]
            self._on_progress(len(found.proposals), wanted)
        found.left_out += Counter()  # drops reasons that nothing was left out for
        return found

    async def _drafts(self, batch: Sequence[SourcePassage]) -> list[tuple[SourcePassage, Row]]:
        """What the texts alone do not speak against."""
        replies = await asyncio.gather(*(_said(self._models.write(one, self._settings.each)) for one in batch))
        return [
            (passage, row) for passage, reply in zip(batch, replies, strict=True) for row in self._rows(passage, reply)
        ]

    def _rows(self, passage: SourcePassage, reply: TeacherReply | None) -> Iterator[Row]:
        left_out = self._found.left_out
        if reply is None:
            left_out["the teacher gave no reply"] += 1
            return
        candidates, broken = read_reply(reply.text)
        left_out["not in the form that was asked for"] += broken + (not candidates and not broken)
        for candidate in candidates:
            why = fault(candidate, passage.text, most_words=self._settings.most_words, policy=self._policy)
            if why:
                left_out[why] += 1
            elif spelled := span(candidate.answer, passage.text):
                yield self._row(QuestionCandidate(candidate.question, spelled), passage.document, reply.by)

    def _row(self, candidate: QuestionCandidate, document: Document, teacher: str) -> Row:
        return Row(
            id=f"g-{_sha256(candidate.question)[:12]}",
            question=candidate.question,
            answers=(candidate.answer,),
            doc_ids=(document.id,),
            tags=(_TAG,),
            provenance=Provenance(
                teacher=teacher, prompt=self._prompt, document=_sha256(document.text), seed=self._settings.seed
            ),
        )

    def _fresh(self, drafts: list[tuple[SourcePassage, Row]]) -> list[tuple[SourcePassage, Row]]:
        """Without what the data has, and what was written before."""
        rows = [row for _, row in drafts]
        in_data = repeats_across(self._known, rows)
        before = [one.row for one in self._found.proposals]
        again = {
            number - len(before) for number in repeats_within([*before, *rows]) if number >= len(before)
        } - in_data.keys()
        self._found.left_out["nearly a question of the data"] += len(in_data)
        self._found.left_out["nearly a question that was written before"] += len(again)
        return [draft for number, draft in enumerate(drafts) if number not in in_data and number not in again]

    def _judge(self, passage: SourcePassage, row: Row, answer: TeacherReply | None) -> None:
        """The round trip."""
        if answer is None:
            self._found.left_out["the model that checks gave no reply"] += 1
            return
        agreement = token_f1(answer.text, row.answers[0])
        if agreement < self._settings.agreement:
            self._found.left_out["its answer was not found again"] += 1
        else:
            self._found.proposals.append(GeneratedRow(row, passage, " ".join(answer.text.split()), round(agreement, 3)))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


async def _said(asked: Coroutine[Any, Any, TeacherReply]) -> TeacherReply | None:
    """The reply, or None where the provider has none for this passage alone."""
    try:
        return await asked
    except ProviderError as error:
        if error.failure not in _OF_ONE_PASSAGE:
            raise
        return None
