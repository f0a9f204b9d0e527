"""Which passages questions are written about: never those of an article that the evaluation asks about."""

from __future__ import annotations

import pytest

from sluice.core.errors import SluiceError
from sluice.data.rows import Document, Row
from sluice.extras.synthetic.source_passages import choose
from sluice.retrieval.chunking import ChunkerSettings

LONG = "This paragraph has words enough that a question can be asked about it, number {}."


def document(name: str, title: str, *, paragraphs: int = 2, tenant: str | None = None) -> Document:
    text = "\n\n".join([LONG.format(f"{name} {number}") for number in range(paragraphs)] + ["A heading"])
    return Document(id=name, title=title, licence="CC0-1.0", source="tests", tenant=tenant, text=text)


CORPUS = [
    document("oak-1", "Oak"),
    document("oak-2", "Oak"),
    document("elm-1", "Elm", paragraphs=3),
    document("ash-1", "Ash"),
    document("own-1", "Own", tenant="acme"),
]
ASKED = [Row(id="e", question="What of oak?", answers=("words",), doc_ids=("oak-1",))]


def test_an_article_that_evaluation_asks_about_is_left_out_whole_and_so_is_a_tenants() -> None:
    found = choose(CORPUS, ASKED, ChunkerSettings(), seed=1)
    assert {one.document.id for one in found} == {"elm-1", "ash-1"}
    assert len(found) == 5, "headings are no passages"
    assert {one.document.id for one in found[:2]} == {"elm-1", "ash-1"}, "one of each document comes first"


def test_the_seed_alone_decides_the_order() -> None:
    orders = {tuple(p.text for p in choose(CORPUS, ASKED, ChunkerSettings(), seed=seed)) for seed in (1, 1, 2, 3)}
    assert len(orders) > 1
    assert choose(CORPUS, ASKED, ChunkerSettings(), seed=1) == choose(CORPUS, ASKED, ChunkerSettings(), seed=1)


def test_nothing_that_may_be_used_is_an_error_that_says_why() -> None:
    with pytest.raises(SluiceError, match="none of 3 documents may be used: 3 are of articles") as caught:
        choose([*CORPUS[:2], CORPUS[-1]], ASKED, ChunkerSettings(), seed=1)
    assert "no row of data/eval.jsonl names" in str(caught.value.remedy)
