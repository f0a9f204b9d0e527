"""What the answers are worth by the kind of question, as `tags` names it, beside what needs no model.

`right_why` is the share of the rows with the tag `why` that are right by their answer key. `nearest_sentence` and
`nearest_two` are the same key held against the sentences of the shown passages that lie nearest to the question: a
model is worth what it is above them. `answer_words`: a longer answer to the same question costs more to make and to
read.
"""

from __future__ import annotations

from typing import Any

from sluice.extend import Metric, Output, Row, answer_key, metric, sentences, words

KINDS = (
    *("definition", "how-to", "why", "comparison", "yes-no", "number", "terse", "misspelt", "polite", "second-turn"),
    *("span", "greeting", "about", "unanswered", "other-language", "off-topic"),
)


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


@metric
class AnswerWords(Metric):
    name = "answer_words"
    what = "words of the answer; a letter of a script without spaces counts as one"
    rows = "that were answered"
    unit = "words"
    direction = "lower"

    def score(self, row: Row, output: Output) -> float | None:  # noqa: ARG002 - the protocol's signature
        return None if output.declined else float(len(words(output.text)))
