"""Metrics of answers, except declines: `language` (ISO 639-1; spans of a few words mostly have none), `same_language`
as the question (True if an answer is too short to tell), and `groundedness`, the share of supported sentences."""

from __future__ import annotations

import asyncio
from functools import cache
from typing import TYPE_CHECKING, Any

from sluice.core.text import sentences
from sluice.data.near_duplicates import words
from sluice.evaluation.registry import Assertion, Label, Metric, MetricBatcher, Output, Row, metric
from sluice.extras.language.grounding import ALIKE, COPIED, NEAR, find_evidence

if TYPE_CHECKING:
    from sluice.retrieval.embedder import Vectors


@metric
class Groundedness(Metric):
    """`vectors`: one vector of length 1 for each text."""

    name = "groundedness"
    what = "share of the answer's sentences that a passage supports (below)"
    unit = "share"
    rows = "whose answer has words and is no decline"
    needs = "passages"
    resources = ("vectors",)

    def __init__(self, vectors: MetricBatcher[Vectors]) -> None:
        self._vectors = vectors

    async def score(self, row: Row, output: Output) -> float | None:  # noqa: ARG002 - the protocol's signature
        claims = [] if output.declined else [claim for claim in sentences(output.text) if words(claim)]
        if not claims:
            return None
        held = await asyncio.gather(*(self.supported(claim, output.passages) for claim in claims))
        return sum(held) / len(held)

    async def supported(self, claim: str, passages: tuple[str, ...]) -> bool:
        evidence = find_evidence(claim, passages)
        if not NEAR <= evidence.share < COPIED:
            return evidence.share >= COPIED
        ours, theirs = await self._vectors.of([claim, evidence.sentence])
        return float(ours @ theirs) >= ALIKE


SURE = 0.7
"""Below this share of the probability the language counts as unknown. engine/docs/reference/metrics.md has the
figures."""

# Widely used languages, without the close relatives of one another that short texts are taken for.
_CODES = (
    "ar bg bn ca cs da de el en es et fa fi fr he hi hr hu id it ja ko lt lv nl no pl pt ro ru sk sl sr sv th tr uk vi"
)
LANGUAGES = (*_CODES.split(), "zh")


def language_of(text: str) -> str | None:
    """Return the ISO 639-1 code, or None if no language of `LANGUAGES` is likely enough."""
    if not text.strip():
        return None
    code, share = _identifier().classify(text)
    return str(code) if share >= SURE else None


@cache
def _identifier() -> Any:
    # An identifier of our own: the languages of the library's shared one are not ours to change.
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages(LANGUAGES)
    return identifier


@metric(
    what="ISO 639-1 code of the answer's language (below)",
    unit="language",
    rows="that were answered, in a language that can be told",
    needs="model",
    direction=None,
    aggregate="counts",
    libraries=("py3langid",),
)
def language(_row: Row, output: Output) -> Label | None:
    found = None if output.declined else language_of(output.text)
    return Label(found) if found else None


@metric(
    what="the answer is not in another language than the question; one whose language nobody can tell is not",
    unit="share",
    rows="that were answered, to a question whose language can be told",
    needs="model",
    aggregate="share",
    libraries=("py3langid",),
)
def same_language(row: Row, output: Output) -> Assertion | None:
    asked = None if output.declined else language_of(row.question)
    if not asked:
        return None
    answered = language_of(output.text) or asked
    return Assertion(answered == asked, "" if answered == asked else f"asked in {asked}, answered in {answered}")
