"""What the answers are worth by the kind of question, as `tags` names it, beside what needs no model.

`right_why` is the share of the rows with the tag `why` that are right by their answer key. `nearest_sentence` and
`nearest_two` are the same key held against the sentences of the shown passages that lie nearest to the question: a
model is worth what it is above them. `answer_words` and those behind it: the form of an answer, which an edit of the
prompt may be about; a longer answer to the same question costs more to make and to read.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from sluice.extend import Metric, Output, Row, answer_key, metric, sentences, words

KINDS = (
    *("definition", "how-to", "why", "comparison", "yes-no", "number", "terse", "misspelt", "polite", "second-turn"),
    *("span", "greeting", "about", "unanswered", "other-language", "off-topic"),
)
LISTED = re.compile(r"(?m)^\d+\. ")
NAMED = re.compile(r"^According to [A-Z].*: |\([A-Z][^()]*\)\.?$")


def _right(kind: str) -> Metric:
    name = f"right_{kind.replace('-', '_')}"

    @metric(name=name, what=f"right by `answer_key`, of the kind {kind}", unit="share", rows=f"with the tag `{kind}`")
    def of_kind(row: Row, output: Output) -> Any:
        return answer_key.score(row, output) if kind in row.tags else None

    return of_kind


RIGHT = {kind: _right(kind) for kind in KINDS}


class _NearestSentences(Metric):
    """`number` sentences of the passages, nearest first by the embedder. `vectors`: one of length 1 for each text."""

    unit = "share"
    rows = "with documents"
    needs = "model"
    resources = ("vectors",)
    number = 1

    def __init__(self, vectors: Any) -> None:
        self._vectors = vectors

    async def score(self, row: Row, output: Output) -> Any:
        if not row.doc_ids:
            return None
        found = [one for passage in output.passages for one in sentences(passage)]
        asked, *vectors = await self._vectors.of([row.in_context, *found])
        order = sorted(range(len(found)), key=lambda place: -float(asked @ vectors[place]))
        return answer_key.score(row, Output(" ".join(found[place] for place in order[: self.number])))


@metric
class NearestSentence(_NearestSentences):
    name = "nearest_sentence"
    what = "the sentence of the passages that is nearest to the question, in place of the answer"


@metric
class NearestTwo(_NearestSentences):
    name = "nearest_two"
    what = "the two nearest sentences, in place of the answer"
    number = 2


def _form(name: str, what: str, unit: str, figure: Callable[[str], float], direction: str = "higher") -> Metric:
    @metric(name=name, what=what, rows="that were answered", unit=unit, direction=direction)
    def of_answer(row: Row, output: Output) -> Any:  # noqa: ARG001 - the protocol's signature
        return None if output.declined else float(figure(output.text))

    return of_answer


ANSWER_WORDS = _form(
    "answer_words", "words, or letters without spaces", "words", lambda said: len(words(said)), "lower"
)
ANSWER_SENTENCES = _form("answer_sentences", "sentences", "count", lambda a: len(sentences(LISTED.sub("", a))), "lower")
ANSWER_STEPS = _form("answer_steps", "numbered lines", "lines", lambda said: len(LISTED.findall(said)))
NAMES_SOURCE = _form("names_source", "the title before it or behind it", "share", lambda said: bool(NAMED.search(said)))
