"""Converts training rows into examples: the prompt as serving renders it, and the expected answer.

Rows whose answers lie in the same passages become neighbours with one and the same prompt beginning; packing.py then
computes that beginning once for all of them. It is most of a prompt, so this is where training time is saved.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sluice.core.atomic_files import read_jsonl
from sluice.core.errors import SluiceError
from sluice.data.rows import Row
from sluice.extras.finetune.training_parameters import TrainingParameters
from sluice.prompts import Prompt
from sluice.retrieval import Hit, format_passages
from sluice.retrieval.index_files import TextEncoder

Matrix = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Example:
    """One prompt as chat messages, and the answer to learn."""

    id: str
    messages: tuple[dict[str, str], ...]
    target: str
    declines: bool


@dataclass
class _PassageGroup:
    """Rows that share their passages (chunk numbers, in prompt order): (row number, declines)."""

    chunks: list[int]
    members: list[tuple[int, bool]] = field(default_factory=list)


@dataclass(frozen=True)
class _PassageIndex:
    chunks: list[dict[str, Any]]
    gold: list[set[int]]  # for each row, the chunks that hold one of its answers
    similarity: Matrix  # (rows, chunks)


def build_examples(
    rows: Sequence[Row],
    index_folder: Path,
    embedder: TextEncoder,
    prompt: Prompt,
    decline: str,
    params: TrainingParameters,
) -> list[Example]:
    """Examples in training order, the same for the same seed; neighbours from one group share their passages.

    Every row gives an example, answered with its first answer, or with `decline` when it has none. The passages are the
    top `params.passages` by cosine similarity to the question; for an answerable row one of them holds the answer. Then
    answerable rows are asked over passages without their answer, until `decline_share` of all examples decline.
    All that is done `params.draws` times, each time with other neighbours and another order of passages.
    An answerable row whose answers occur in no chunk of its documents is left out. SluiceError when nothing is left.
    """
    if not rows:
        raise SluiceError("no training rows", remedy="add rows to data/train.jsonl")
    index = _read(rows, index_folder, embedder)
    rng = random.Random(params.seed)
    usable = [number for number, row in enumerate(rows) if not row.answers or index.gold[number]]
    if not usable:
        raise SluiceError(
            f"none of the {len(rows)} training rows has its answer in the index",
            remedy="build the index again: `sluice index build`",
        )
    groups = []
    for _ in range(params.draws):
        drawn = _share(usable, rows, index, params, rng)
        _add_declines(drawn, usable, rows, index, params, rng)
        rng.shuffle(drawn)
        groups += drawn
    return [
        _example(rows[number], group.chunks, declines, index, prompt, decline)
        for group in groups
        for number, declines in group.members
    ]


def _read(rows: Sequence[Row], folder: Path, embedder: TextEncoder) -> _PassageIndex:
    listed = read_jsonl(folder / "chunks.jsonl")
    # The model answers every tenant: it must not learn from what only one of them may see.
    shared = [number for number, chunk in enumerate(listed) if chunk.get("tenant") is None]
    chunks = [listed[number] for number in shared]
    vectors = np.load(folder / "vectors.npy")[shared]
    of_document: dict[str, list[int]] = {}
    for number, chunk in enumerate(chunks):
        of_document.setdefault(chunk["doc_id"], []).append(number)
    gold = [
        {
            number
            for doc_id in row.doc_ids
            for number in of_document.get(doc_id, [])
            if any(answer in chunks[number]["text"] for answer in row.answers)
        }
        for row in rows
    ]
    return _PassageIndex(chunks, gold, embedder.embed([row.question for row in rows]) @ vectors.T)


def _share(
    usable: list[int],
    rows: Sequence[Row],
    index: _PassageIndex,
    params: TrainingParameters,
    rng: random.Random,
) -> list[_PassageGroup]:
    """Each row at least once: one not yet seen opens a group, and rows join whose answer its passages hold."""
    order = list(usable)
    rng.shuffle(order)
    seen: set[int] = set()
    groups = []
    for first in order:
        if first in seen:
            continue
        group = _PassageGroup(_passages(first, index, params, rng), [(first, not rows[first].answers)])
        held = set(group.chunks)
        joins = [number for number in order if number != first and index.gold[number] & held]
        joins.sort(key=lambda number: (number in seen, params.order == "rank" and not _leads(number, group, index)))
        group.members += [(number, False) for number in joins[: params.share - 1]]
        seen |= {number for number, _ in group.members}
        groups.append(group)
    return groups


def _leads(row: int, group: _PassageGroup, index: _PassageIndex) -> bool:
    """Whether retrieval would put the group's first passage first for this row too."""
    return group.chunks[0] == max(group.chunks, key=lambda number: float(index.similarity[row, number]))


def _passages(row: int, index: _PassageIndex, params: TrainingParameters, rng: random.Random) -> list[int]:
    """The most similar chunks, the last one replaced where none of them holds the answer, in `params.order`."""
    top = [int(number) for number in np.argsort(-index.similarity[row], kind="stable")[: params.passages]]
    if index.gold[row] and not index.gold[row] & set(top):
        top[-1] = max(index.gold[row], key=lambda number: float(index.similarity[row, number]))
    if params.order == "random":
        rng.shuffle(top)
    return top


def _add_declines(
    groups: list[_PassageGroup],
    usable: list[int],
    rows: Sequence[Row],
    index: _PassageIndex,
    params: TrainingParameters,
    rng: random.Random,
) -> None:
    """Asks answerable rows in the nearest group that does not hold the answer: what a retrieval miss is.

    Data without a single unanswerable row does not ask for declining, and gets none.
    """
    total = sum(len(group.members) for group in groups)
    already = sum(declines for group in groups for _, declines in group.members)
    if not already:
        return
    wanted = round((params.decline_share * total - already) / (1 - params.decline_share))
    answerable = [number for number in usable if rows[number].answers]
    rng.shuffle(answerable)
    for row in answerable[: max(wanted, 0)]:
        fitting = [
            group for group in groups if len(group.members) <= params.share and not _holds(group, row, rows, index)
        ]
        if fitting:
            best = max(fitting, key=lambda group: float(index.similarity[row, group.chunks].max()))
            best.members.append((row, True))


def _holds(group: _PassageGroup, row: int, rows: Sequence[Row], index: _PassageIndex) -> bool:
    """Whether the group's passages hold an answer of the row, from its documents or by chance."""
    texts = [index.chunks[number]["text"] for number in group.chunks]
    return bool(index.gold[row] & set(group.chunks)) or any(
        answer in text for answer in rows[row].answers for text in texts
    )


def _example(
    row: Row, chunks: list[int], declines: bool, index: _PassageIndex, prompt: Prompt, decline: str
) -> Example:
    hits = [
        Hit(chunk_id=c["id"], doc_id=c["doc_id"], title=c["title"], text=c["text"], score=0.0, similarity=0.0)
        for c in (index.chunks[number] for number in chunks)
    ]
    messages = prompt.render(passages=format_passages(hits), question=row.question, decline=decline)
    return Example(row.id, tuple(messages), decline if declines else row.answers[0], declines)
