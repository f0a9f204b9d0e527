"""The metrics of the engine."""

from __future__ import annotations

import json
import math
from functools import partial
from typing import TYPE_CHECKING

from sluice.core.text import fold, no_number, normalise, token_f1
from sluice.data.near_duplicates import words
from sluice.data.row_rules import states_key
from sluice.evaluation.registry import Assertion, Metric, MetricBatcher, Output, Row, metric

if TYPE_CHECKING:
    from sluice.retrieval.embedder import Vectors

# The chunks that rank metrics look at.
K = 5
_REGEX_SECONDS = 1.0
_NAMED = "that name the documents with the answer (doc_ids)"
_ASKED = "that reached the model"


@metric(
    what="each fact of the row's `expect.answer_key` is stated, or else one of its answers; without answers: declined",
    unit="share",
)
def answer_key(row: Row, output: Output) -> float:
    """1 for a right answer, else 0; without a key, when one of the answers occurs, without answers, when declined."""
    if not row.answers:
        return float(output.declined)
    key = row.expect.answer_key if row.expect else ()
    return float(not output.declined and states_key(output.text, key or (row.answers,)))


@metric
class AnswerSimilarity(Metric):
    """The cosine forgives other words, but also a wrong number or a missing "not": read it beside F1, never alone."""

    name = "answer_similarity"
    what = "cosine of MiniLM's vectors of the answer and the closest expected one; below 0 counts as 0"
    unit = "share"
    rows = "with answers that were answered"
    needs = "model"
    resources = ("vectors",)

    def __init__(self, vectors: MetricBatcher[Vectors]) -> None:
        self._vectors = vectors

    async def score(self, row: Row, output: Output) -> float | None:
        if not row.answers or output.declined:
            return None
        if not output.text.strip():
            return 0.0
        if normalise(output.text) in {normalise(answer) for answer in row.answers}:
            return 1.0
        ours, *theirs = await self._vectors.of([output.text, *row.answers])
        return min(1.0, max(0.0, *(float(ours @ other) for other in theirs)))


@metric(what="share of the citations that name a right document; 0 without citations", unit="share", rows=_NAMED)
def citation_correctness(row: Row, output: Output) -> float | None:
    if not row.doc_ids or output.declined:
        return None
    if not output.citations:
        return 0.0
    return sum(doc in row.doc_ids for doc in output.citations) / len(output.citations)


@metric(
    what="every text of the row's `expect.contains` occurs, without regard to case",
    unit="share",
    rows="that ask for it",
    aggregate="share",
)
def contains(row: Row, output: Output) -> Assertion | None:
    if row.expect is None or not row.expect.contains:
        return None
    answer = fold(output.text)
    missing = [text for text in row.expect.contains if fold(text) not in answer]
    return Assertion(not missing, f"not in the answer: {', '.join(map(repr, missing))}" if missing else "")


@metric(what="an expected answer occurs in the answer, both normalised", unit="share", rows="with answers")
def contains_answer(row: Row, output: Output) -> float | None:
    if not row.answers:
        return None
    words = f" {normalise(output.text)} "
    return float(any(f" {normalise(answer)} " in words for answer in row.answers))


@metric(what="declined", unit="share", rows="without answers, which must be declined (answers: [])")
def decline_accuracy(row: Row, output: Output) -> float | None:
    return None if row.answers else float(output.declined)


@metric(
    what="the answer equals an expected one after SQuAD's normalisation (case, punctuation, articles)",
    unit="share",
    rows="with answers",
)
def exact_match(row: Row, output: Output) -> float | None:
    if not row.answers:
        return None
    return float(normalise(output.text) in {normalise(answer) for answer in row.answers})


@metric(
    what="harmonic mean of token precision and recall against the closest expected answer: 2·common / (ours + theirs)",
    unit="share",
    rows="with answers",
)
def f1(row: Row, output: Output) -> float | None:
    if not row.answers:
        return None
    return max(token_f1(output.text, answer) for answer in row.answers)


@metric(what="declined", unit="share", rows="with answers", direction="lower")
def false_declines(row: Row, output: Output) -> float | None:
    return float(output.declined) if row.answers else None


@metric(
    what="the whole answer is JSON that `expect.json_schema` accepts",
    unit="share",
    rows="that ask for it",
    aggregate="share",
    libraries=("jsonschema",),
)
def json_schema(row: Row, output: Output) -> Assertion | None:
    """A schema without `$schema` is of draft 2020-12. Text around the JSON fails, as a program couldn't read it."""
    if row.expect is None or row.expect.json_schema is None:
        return None
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match
    from jsonschema.validators import validator_for
    from referencing import Registry

    try:
        value = json.loads(output.text, parse_constant=no_number)
    except (ValueError, RecursionError) as error:
        return Assertion(False, f"not JSON: {error}")
    schema = row.expect.json_schema
    validator = validator_for(schema, default=Draft202012Validator)(schema, registry=Registry())
    fault = best_match(validator.iter_errors(value))
    return Assertion(fault is None, f"{fault.json_path}: {fault.message}" if fault else "")


@metric(what="no text of `expect.not_contains` occurs", unit="share", rows="that ask for it", aggregate="share")
def not_contains(row: Row, output: Output) -> Assertion | None:
    if row.expect is None or not row.expect.not_contains:
        return None
    answer = fold(output.text)
    found = [text for text in row.expect.not_contains if fold(text) in answer]
    return Assertion(not found, f"in the answer: {', '.join(map(repr, found))}" if found else "")


@metric(what="1 / rank of the first chunk of a right document, 0 without", unit="share", rows=_NAMED, needs="passages")
def mrr(row: Row, output: Output) -> float | None:
    if not row.doc_ids:
        return None
    return next((1 / rank for rank, doc in enumerate(output.retrieved, 1) if doc in row.doc_ids), 0.0)


@metric(what="share of the row's documents among the five best chunks", unit="share", rows=_NAMED, needs="passages")
def recall_at_5(row: Row, output: Output) -> float | None:
    if not row.doc_ids:
        return None
    return len(set(row.doc_ids) & set(output.retrieved[:K])) / len(set(row.doc_ids))


# Gains of 0 and 1; further chunks of a document add nothing.
@metric(
    what="sum of 1 / log2(rank + 1) over the first chunk of each right document among five, divided by "
    "that of the best order (Järvelin and Kekäläinen, 2002)",
    unit="share",
    rows=_NAMED,
    needs="passages",
)
def ndcg_at_5(row: Row, output: Output) -> float | None:
    if not row.doc_ids:
        return None
    right = set(row.doc_ids)
    top = output.retrieved[:K]
    gained = sum(_discount(top.index(doc) + 1) for doc in right if doc in top)
    return gained / sum(_discount(rank) for rank in range(1, min(len(right), K) + 1))


def _discount(rank: int) -> float:
    return 1 / math.log2(rank + 1)


@metric(
    what="`expect.regex` is found in the answer; a search of more than a second is an error",
    unit="share",
    rows="that ask for it",
    aggregate="share",
    libraries=("regex",),
)
def regex(row: Row, output: Output) -> Assertion | None:
    """The syntax is that of the library regex, a superset of re. Anchor a pattern that is about the whole answer."""
    if row.expect is None or row.expect.regex is None:
        return None
    import regex

    found = regex.search(row.expect.regex, output.text, timeout=_REGEX_SECONDS)
    return Assertion(bool(found), "" if found else f"no match of {row.expect.regex!r}")


@metric(
    what="share of its runs of four words that stood in it before; near 1 in a loop (seq-rep-4, Welleck et al., 2020)",
    unit="share",
    rows="that were answered",
    direction="lower",
)
def repetition(_row: Row, output: Output) -> float | None:
    said = words(output.text)
    runs = list(zip(*(said[start:] for start in range(4)), strict=False))
    return None if output.declined else 1 - len(set(runs)) / len(runs) if runs else 0.0


_of_time = partial(metric, what="wall time of the whole answer", unit="ms", needs="clock", direction="lower")


def _latency(_row: Row, output: Output) -> float | None:
    return output.latency_ms


latency_p50_ms = _of_time(name="latency_p50_ms", aggregate="p50")(_latency)
latency_p95_ms = _of_time(name="latency_p95_ms", aggregate="p95")(_latency)


@metric(what="time to the first text", unit="ms", rows=_ASKED, needs="clock", direction="lower", aggregate="p50")
def ttft_p50_ms(_row: Row, output: Output) -> float | None:
    return output.ttft_ms


@metric(what="tokens of prompt and answer", unit="tokens", rows=_ASKED, direction="lower")
def tokens(_row: Row, output: Output) -> float | None:
    total = output.prompt_tokens + output.completion_tokens
    return float(total) if total else None


@metric(
    what="by the prices of `config/providers.yaml`",
    unit="USD",
    rows="whose tokens are known",
    needs="price",
    direction="lower",
)
def cost_usd(_row: Row, output: Output) -> float | None:
    return output.cost
