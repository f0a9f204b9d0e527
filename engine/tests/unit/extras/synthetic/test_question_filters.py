"""What a teacher wrote: read in whatever form it comes, kept only where the texts do not speak against it."""

from __future__ import annotations

import pytest

from sluice.data.data_policy import PrivacyPolicy
from sluice.extras.synthetic.question_filters import QuestionCandidate, fault, read_reply, span

LONG = '{"question": "How  long?", "answer": "50 years"}'
WHERE = '{"question": "Where?", "answer": "the ledger"}'
PASSAGE = "Piles of oak last 50 years in salt water. Costs are in the ledger of the Harbour  Office."


@pytest.mark.parametrize(
    "reply",
    [
        f"{LONG}\n{WHERE}",
        f"Here:\n```json\n[{LONG},\n {WHERE}]\n```",
        f'{LONG} {WHERE[:-1]}, "note": {{"a": 1}}}}',
    ],
)
def test_a_reply_may_be_lines_a_list_or_a_block(reply: str) -> None:
    assert read_reply(reply) == (
        [QuestionCandidate("How long?", "50 years"), QuestionCandidate("Where?", "the ledger")],
        0,
    )


def test_what_is_no_candidate_is_counted_and_the_next_is_read() -> None:
    good = '{"question": "How long?", "answer": "50 years"}'
    bad = ['{"question": "How long?"', '{"question": "How?", "answer": 50}', '{"question": " ", "answer": "x"}', "{}"]
    assert read_reply("\n".join([*bad, good])) == ([QuestionCandidate("How long?", "50 years")], 4)
    assert read_reply('Cut: {"question": "How lo') == ([], 1)
    assert read_reply("No questions.") == ([], 0)


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ("50 years", "50 years"),
        ("PILES OF OAK", "Piles of oak"),
        ('"the Harbour Office."', "the Harbour  Office"),
        ("0 years", None),
        ("ledge", None),
        ("fifty years", None),
        (" . ", None),
    ],
)
def test_an_answer_is_spelled_as_its_passage_spells_it_or_is_none(answer: str, found: str | None) -> None:
    assert span(answer, PASSAGE) == found


def test_scripts_without_spaces_have_spans_too() -> None:
    assert span("三年", "橡木桩可用三年。") == "三年"


@pytest.mark.parametrize(
    ("question", "answer", "why"),
    [
        ("How long do piles of oak last?", "50 years", None),
        ("How long do piles of oak last?", "60 years", "the answer is no span of its passage"),
        ("What is said of oak?", "Piles of oak last 50 years in salt water", "the answer is longer than 5 words"),
        ("How long?", "50 years", "the question is too short"),
        ("Do piles last 50 years or more?", "50 years", "the question holds its answer"),
        ("How long do piles last by this passage?", "50 years", "the question speaks of its passage"),
        ("Does a.b@company.org know how long piles last?", "50 years", "personal data or secret"),
    ],
)
def test_why_a_candidate_is_not_good_enough(question: str, answer: str, why: str | None) -> None:
    assert fault(QuestionCandidate(question, answer), PASSAGE, most_words=5, policy=PrivacyPolicy()) == why
