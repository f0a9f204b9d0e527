"""Which passages questions are written about, and what of a teacher's reply is good enough."""

from __future__ import annotations

import pytest

from sluice.core.errors import SluiceError
from sluice.data.data_policy import PrivacyPolicy
from sluice.data.rows import Document, Row
from sluice.extras.datakit.generate import choose, fault, read_reply, span
from sluice.retrieval.chunking import ChunkerSettings

PARAGRAPH = "This paragraph has words enough that a question can be asked about it, number {}."
LONG = '{"question": "How  long?", "answer": "50 years"}'
WHERE = '{"question": "Where?", "answer": "the ledger"}'
PASSAGE = "Piles of oak last 50 years in salt water. Costs are in the ledger of the Harbour  Office."


def document(name: str, title: str, *, paragraphs: int = 2, tenant: str | None = None) -> Document:
    text = "\n\n".join([PARAGRAPH.format(f"{name} {number}") for number in range(paragraphs)] + ["A heading"])
    return Document(id=name, title=title, licence="CC0-1.0", source="tests", tenant=tenant, text=text)


CORPUS = [document("oak-1", "Oak"), document("oak-2", "Oak"), document("own-1", "Own", tenant="acme")]
CORPUS += [document("elm-1", "Elm", paragraphs=3), document("ash-1", "Ash")]
ASKED = [Row(id="e", question="What of oak?", answers=("words",), doc_ids=("oak-1",))]


def test_an_article_that_evaluation_asks_about_is_left_out_whole_and_so_is_a_tenants() -> None:
    found = choose(CORPUS, ASKED, ChunkerSettings(), seed=1)
    assert {one.document.id for one in found} == {"elm-1", "ash-1"}
    assert len(found) == 5, "headings are no passages"


def test_the_seed_alone_decides_the_order_and_nothing_to_use_is_an_error() -> None:
    orders = {tuple(p.text for p in choose(CORPUS, ASKED, ChunkerSettings(), seed=seed)) for seed in (1, 1, 2, 3)}
    assert len(orders) == 3
    with pytest.raises(SluiceError, match="none of 3 documents may be used"):
        choose(CORPUS[:3], ASKED, ChunkerSettings(), seed=1)


def test_a_reply_may_be_lines_a_list_or_a_block_and_what_is_no_candidate_is_counted() -> None:
    both = [("How long?", "50 years"), ("Where?", "the ledger")]
    for reply in (f"{LONG}\n{WHERE}", f"Here:\n```json\n[{LONG},\n {WHERE}]\n```", f"{LONG} {WHERE}"):
        assert read_reply(reply) == (both, 0)
    bad = ['{"question": "How long?"', '{"question": "How?", "answer": 50}', '{"question": " ", "answer": "x"}', "{}"]
    assert read_reply("\n".join([*bad, LONG])) == (both[:1], 4)
    assert read_reply('Cut: {"question": "How lo') == ([], 1)
    assert read_reply("No questions.") == ([], 0)


def test_an_answer_is_spelled_as_its_passage_spells_it_or_is_none() -> None:
    assert span("50 years", PASSAGE) == "50 years"
    assert span("PILES OF OAK", PASSAGE) == "Piles of oak"
    assert span('"the Harbour Office."', PASSAGE) == "the Harbour  Office"
    assert span("三年", "橡木桩可用三年。") == "三年"
    assert [span(answer, PASSAGE) for answer in ("0 years", "ledge", "fifty years", " . ")] == [None] * 4


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("How long do piles of oak last?", "60 years"),
        ("What is said of oak?", "50 years in salt water. Costs are in the ledger of the Harbour Office"),
        ("How long?", "50 years"),
        ("Do piles last 50 years or more?", "50 years"),
        ("How long do piles last by this passage?", "50 years"),
        ("Does a.b@company.org know how long piles last?", "50 years"),
    ],
)
def test_what_is_not_good_enough_has_a_fault(question: str, answer: str) -> None:
    assert fault(question, answer, PASSAGE, PrivacyPolicy())
    assert not fault("How long do piles of oak last?", "50 years", PASSAGE, PrivacyPolicy())
