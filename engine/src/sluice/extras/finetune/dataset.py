"""Converts training rows into examples: the prompt as serving renders it, and the expected answer."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sluice.core.atomic_files import read_jsonl
from sluice.core.errors import SluiceError
from sluice.core.text import sentences, token_f1
from sluice.data.row_rules import states_key
from sluice.data.rows import Row
from sluice.extras.finetune.training_parameters import AnswerStyle, TrainingParameters
from sluice.extras.small_model.evidence_reader import EvidenceReader
from sluice.prompts import Prompt
from sluice.retrieval import Hit, format_history, format_passages
from sluice.retrieval.embedder import Embedder

Matrix = npt.NDArray[np.float32]
_SPAN_WORDS = 8  # a longer answer is no span
_BEHIND = 0.15  # of the rows without a history are asked behind that of another row
_OFTEN: dict[AnswerStyle, int] = {"span": 3, "answer": 8}  # times as often as another style


@dataclass(frozen=True)
class Example:
    id: str
    messages: tuple[dict[str, str], ...]
    target: str
    declines: bool


@dataclass
class _Draw:
    """Passages drawn for a row (chunk numbers, in prompt order). `rows` are (row number, declines) of that row and of
    one that is asked over the same passages in vain."""

    chunks: list[int]
    rows: list[tuple[int, bool]]
    style: AnswerStyle
    instruction: str


@dataclass(frozen=True)
class _PassageIndex:
    rows: Sequence[Row]
    params: TrainingParameters
    chunks: list[dict[str, Any]]
    gold: list[set[int]]  # for each row, the chunks that hold one of its answers
    targets: list[dict[AnswerStyle, str]]  # for each row, its answer in each style that it has one in
    similarity: Matrix  # (rows, chunks)

    def hits(self, row: int, chunks: Sequence[int]) -> list[Hit]:
        """Return chunks as the search would give them for a row."""
        near = [(self.chunks[number], float(self.similarity[row, number])) for number in chunks]
        return [Hit(c["id"], c["doc_id"], c["title"], c["text"], score=at, similarity=at) for c, at in near]

    def bare(self, row: int) -> bool:
        """Tell if a row has no passages of its own and serving would find none."""
        return not self.gold[row] and float(self.similarity[row].max()) < self.params.min_similarity


def build_examples(
    rows: Sequence[Row],
    index_folder: Path,
    embedder: Embedder,
    prompt: Prompt,
    decline: str,
    params: TrainingParameters,
) -> list[Example]:
    """Return examples, the same for the same seed.

    Every row gives an example, answered in the style of its instruction, or with `decline` when it has no answer. The
    passages are the top `params.passages` by cosine similarity to the question; for an answerable row one of them holds
    the answer. Then answerable rows are asked over passages without their answer, until `decline_share` of all examples
    decline; of these none is kept that serving would not ask a model (`max_doubt`). Where rows have histories, some
    others are asked behind them: the last question counts. All that is done `params.draws` times, each time with other
    instructions and another order of passages.
    An answerable row whose answers occur in no chunk of its documents is left out. SluiceError when nothing is left.
    """
    if not rows:
        raise SluiceError("no training rows", remedy="add rows to data/train.jsonl")
    rng = random.Random(params.seed)
    rows = _behind_histories(rows, rng)
    index = _read(rows, index_folder, embedder, params)
    usable = [number for number, row in enumerate(rows) if not row.answers or index.targets[number]]
    if not usable:
        raise SluiceError(
            f"none of the {len(rows)} training rows has its answer in the index",
            remedy="build the index again: `sluice index build`",
        )
    reader = EvidenceReader(embedder)
    found = []
    for one in _draws(usable, index, rng):
        for number, declines in one.rows:
            row, hits, targets = rows[number], index.hits(number, one.chunks), index.targets[number]
            if params.sentences and hits:
                evidence = reader.read(row.in_context, hits, params.sentences)
                if declines and evidence.doubt > params.max_doubt:
                    continue  # what serving declines by itself would teach the model to decline what it is shown
                hits = evidence.sentences
                if row.doc_ids:
                    targets = evidence_targets(row, hits, params.instructions)
            first = one.style if hits or "welcome" not in params.instructions else "welcome"  # small talk
            style = next((name for name in (first, "explain") if declines or name in targets), None)
            if style is not None:
                told = one.instruction if style == one.style else params.instructions[style][0]
                found.append(_example(row, hits, told, decline if declines else targets[style], prompt, decline))
    return found


def _behind_histories(rows: Sequence[Row], rng: random.Random) -> list[Row]:
    known = [row.history for row in rows if row.history]

    def behind(row: Row) -> Row:
        taken = known and not row.history and rng.random() < _BEHIND
        return row.model_copy(update={"history": rng.choice(known)}) if taken else row

    return [behind(row) for row in rows]


def _read(rows: Sequence[Row], folder: Path, embedder: Embedder, params: TrainingParameters) -> _PassageIndex:
    listed = read_jsonl(folder / "chunks.jsonl")
    # The model answers every tenant: it must not learn from what only one of them may see.
    shared = [number for number, chunk in enumerate(listed) if chunk.get("tenant") is None]
    chunks = [listed[number] for number in shared]
    vectors = np.load(folder / "vectors.npy")[shared]
    of_document: dict[str, list[int]] = {}
    for number, chunk in enumerate(chunks):
        of_document.setdefault(chunk["doc_id"], []).append(number)
    gold = [_gold(row, [n for doc_id in row.doc_ids for n in of_document.get(doc_id, [])], chunks) for row in rows]
    targets = []
    for row, held in zip(rows, gold, strict=True):
        texts = [sentences(chunks[number]["text"]) for number in sorted(held)]
        targets.append(targets_of(row, texts, params.instructions, chunks[min(held)]["title"] if held else ""))
    # As the application searches: with the question before.
    similarity = embedder.embed([row.in_context for row in rows]) @ vectors.T
    return _PassageIndex(rows, params, chunks, gold, targets, similarity)


def _gold(row: Row, candidates: Sequence[int], chunks: Sequence[dict[str, Any]]) -> set[int]:
    """Return the chunks that hold the answer; for a composed answer without one, the most similar chunk."""
    held = {number for number in candidates if _answers(row, chunks[number]["text"])}
    if held or not _key(row) or not candidates:
        return held
    return {max(candidates, key=lambda number: token_f1(chunks[number]["text"], row.answers[0]))}


def _key(row: Row) -> tuple[tuple[str, ...], ...]:
    return row.expect.answer_key if row.expect else ()


def _answers(row: Row, text: str) -> bool:
    key = _key(row)
    return any(answer in text for answer in row.answers) or bool(key and states_key(text, key))


def targets_of(
    row: Row, texts: Sequence[Sequence[str]], styles: Iterable[AnswerStyle], title: str = ""
) -> dict[AnswerStyle, str]:
    """Return the right answer to a row in each style."""
    if not row.answers or (row.doc_ids and not texts):
        return {}
    found: dict[AnswerStyle, str] = dict.fromkeys(("answer", "sentence", "explain", "steps", "welcome"), row.answers[0])
    if _is_span(row) or "answer" not in styles:
        found["span"] = row.answers[0]
    choices = [
        (parts, chosen)
        for parts in texts
        for size in (1, 2)
        for chosen in combinations(range(len(parts)), size)
        if _answers(row, " ".join(parts[place] for place in chosen))
    ]
    if choices:
        # A span stands in one sentence; of an answer in sentences, those that say the same.
        parts, chosen = max(choices, key=lambda one: _likeness(row, *one))
        others = [place for place in range(len(parts)) if place not in chosen]
        more = sorted({*chosen, *([place for place in others if place == chosen[-1] + 1] or others[-1:])})
        found["answer"] = " ".join(parts[place] for place in chosen)
        found["explain"], found["steps"] = _lengthened([parts[place] for place in more])
        alone = max((one for one in choices if len(one[1]) == 1), key=lambda one: _likeness(row, *one), default=None)
        found["sentence"] = alone[0][alone[1][0]] if alone else ""
        found |= _attributed(found["sentence"], title)
        found.setdefault("span", _shortest(row, found["sentence"]))
    elif row.doc_ids:
        del found["steps"]
    return {style: text for style, text in found.items() if text and style in styles}


def evidence_targets(row: Row, evidence: Sequence[Hit], styles: Iterable[AnswerStyle]) -> dict[AnswerStyle, str]:
    """Like `targets_of`, but sentences are shown best first, since a small model copies the first ones most surely; the
    answer is all but the last of three and more."""
    found: dict[AnswerStyle, str] = {}
    texts = [hit.text for hit in evidence]
    if not _answers(row, " ".join(texts)):
        return found
    found["explain"], found["steps"] = _lengthened(texts)
    if _answers(row, first := " ".join(texts[: max(2, len(texts) - 1)])):
        found["answer"] = first
    if alone := [hit for hit in evidence if _answers(row, hit.text)]:
        found["sentence"] = alone[0].text
        found |= _attributed(alone[0].text, alone[0].title)
        found["span"] = row.answers[0] if _is_span(row) else _shortest(row, alone[0].text)
    return {style: text for style, text in found.items() if text and style in styles}


def _attributed(sentence: str, title: str) -> dict[AnswerStyle, str]:
    if not sentence or not title:
        return {}
    return {"source": f"{sentence} ({title})", "formal": f"According to {title}: {sentence}"}


def _is_span(row: Row) -> bool:
    return len(row.answers[0].split()) <= _SPAN_WORDS


def _shortest(row: Row, sentence: str) -> str:
    """Return the fewest words of a sentence that state the row's key, or "" if they are no span."""
    words = sentence.split() if _key(row) else []
    for number in range(1, _SPAN_WORDS + 1):
        for first in range(len(words) - number + 1):
            if states_key(span := " ".join(words[first : first + number]), _key(row)):
                return span.strip(",;:.!?()")
    return ""


def _lengthened(parts: Sequence[str]) -> tuple[str, str]:
    return " ".join(parts), "\n".join(f"{number}. {one}" for number, one in enumerate(parts, 1))


def _likeness(row: Row, parts: Sequence[str], chosen: Sequence[int]) -> float:
    return token_f1(" ".join(parts[place] for place in chosen), row.answers[0])


def _draws(usable: list[int], index: _PassageIndex, rng: random.Random) -> list[_Draw]:
    """Return rows with passages, style and instruction, and declines beside them, `params.draws` times."""
    drawn, rows, params = [], index.rows, index.params
    for _ in range(params.draws):
        order, ones = list(usable), []
        rng.shuffle(order)
        for row in order:
            chunks, style = _passages(row, index, rng), _style(row, index, rng)
            instruction = rng.choice(params.instructions[style])
            ones.append(_Draw(chunks, [(row, not rows[row].answers)], style, instruction))
        _add_declines(ones, usable, index, rng)
        replies = [one for one in ones if index.targets[one.rows[0][0]] and not rows[one.rows[0][0]].doc_ids]
        ones += replies * (params.replies - 1)
        rng.shuffle(ones)
        drawn += ones
    return drawn


def _style(row: int, index: _PassageIndex, rng: random.Random) -> AnswerStyle:
    """Draw a style that is asked for; a span is rare if the answer is none."""
    instructions, targets = index.params.instructions, index.targets[row]
    if index.bare(row) and "welcome" in instructions:
        return "welcome"
    span = not index.rows[row].answers or _is_span(index.rows[row])
    known = [style for style in instructions if style != "welcome" and (style in targets or not targets)]
    often = [_OFTEN.get(style, 1) if span or style != "span" else 1 for style in known]
    return rng.choices(known, often)[0]


def _passages(row: int, index: _PassageIndex, rng: random.Random) -> list[int]:
    """Return the most similar chunks, or none if none is near, as in serving. If none holds the answer, one that does
    replaces the last."""
    if index.bare(row):
        return []
    top = [int(number) for number in np.argsort(-index.similarity[row], kind="stable")[: index.params.passages]]
    if index.gold[row] and not index.gold[row] & set(top):
        top[-1] = max(index.gold[row], key=lambda number: float(index.similarity[row, number]))
    if index.params.order == "random":
        rng.shuffle(top)
    return top


def _add_declines(drawn: list[_Draw], usable: list[int], index: _PassageIndex, rng: random.Random) -> None:
    """Ask answerable rows over the nearest passages without the answer, as after a retrieval miss, if the data have
    unanswerable rows."""
    already = sum(not index.rows[number].answers for number in usable)
    if not already:
        return
    share = index.params.decline_share
    wanted = round((share * len(drawn) - already) / (1 - share))
    answerable = [number for number in usable if index.gold[number]]
    rng.shuffle(answerable)
    for row in answerable[: max(wanted, 0)]:
        fitting = [one for one in drawn if one.chunks and len(one.rows) == 1 and not _holds(one, row, index)]
        if fitting:
            best = max(fitting, key=lambda one: float(index.similarity[row, one.chunks].max()))
            best.rows.append((row, True))


def _holds(drawn: _Draw, row: int, index: _PassageIndex) -> bool:
    """Tell if passages hold an answer of the row, from its documents or by chance."""
    texts = [index.chunks[number]["text"] for number in drawn.chunks]
    answers = index.rows[row].answers
    return bool(index.gold[row] & set(drawn.chunks)) or any(answer in text for answer in answers for text in texts)


def _example(row: Row, hits: Sequence[Hit], instruction: str, target: str, prompt: Prompt, decline: str) -> Example:
    values = {
        "instruction": instruction,
        "history": format_history([turn.model_dump() for turn in row.history]),
        "passages": format_passages(hits),
        "question": row.question,
        "decline": decline,
    }
    used = {variable.name for variable in prompt.variables}
    messages = prompt.render(**{name: value for name, value in values.items() if name in used})
    return Example(row.id, tuple(messages), target, target == decline)
