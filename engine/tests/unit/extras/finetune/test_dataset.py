from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from sluice.core.atomic_files import read_jsonl, write_jsonl
from sluice.core.errors import SluiceError
from sluice.data.rows import EarlierMessage, ExpectedBehaviour, Row
from sluice.extras.finetune.dataset import Example, Matrix, build_examples, evidence_targets, targets_of
from sluice.extras.finetune.training_parameters import TrainingParameters
from sluice.extras.small_model import evidence_reader
from sluice.prompts import Prompt, Variable
from sluice.retrieval import Hit
from sluice.retrieval.embedder import TokenStates

DECLINE = "The handbook does not say."
TOPICS = ("apples", "bridges", "clocks", "drums", "engines")


class OneHot:
    def embed(self, texts: Sequence[str]) -> Matrix:
        return np.array([[float(topic in text) for topic in TOPICS] for text in texts], dtype=np.float32)

    def token_states(self, texts: Sequence[str]) -> list[TokenStates]:
        split = [text.rstrip(".?").split() for text in texts]
        vectors = [[np.random.default_rng(list(word.encode())).normal(size=64) for word in words] for words in split]
        return [TokenStates(w, [30_000] * len(w), np.array(v)) for w, v in zip(split, vectors, strict=True)]


@pytest.fixture
def index(tmp_path: Path) -> Path:
    chunks = [
        {"id": f"{topic}#0", "doc_id": topic, "title": topic, "text": f"The number of {topic} is {number} hundred."}
        for number, topic in enumerate(TOPICS)
    ]
    write_jsonl(tmp_path / "chunks.jsonl", chunks)
    np.save(tmp_path / "vectors.npy", OneHot().embed([c["text"] for c in chunks]))
    return tmp_path


def row(topic: str, *answers: str) -> Row:
    docs = (topic,) if answers else ()
    return Row(id=f"{topic}-q", question=f"How many {topic} are there?", answers=answers, doc_ids=docs)


PROMPT = Prompt.model_validate(
    {
        "name": "finetune",
        "description": "d",
        "model": "chat",
        "messages": [{"role": "user", "content": "{{passages}}\n{{question}}\n{{decline}}"}],
        "variables": [{"name": name} for name in ("passages", "question", "decline")],
    }
)
ROWS = [row(topic, f"{number} hundred") for number, topic in enumerate(TOPICS)] + [row("zebras")]


def build(index: Path, rows: Sequence[Row] = ROWS, **changes: object) -> list[Example]:
    params = TrainingParameters.model_validate({"passages": 2, "decline_share": 0.0, **changes})
    return build_examples(rows, index, OneHot(), PROMPT, DECLINE, params)


def test_every_row_is_learned_and_answerable_ones_have_their_answer_in_the_prompt(index: Path) -> None:
    examples = build(index)
    assert sorted(e.id for e in examples) == sorted(r.id for r in ROWS)
    for example in examples:
        if not example.declines:
            assert example.target in example.messages[0]["content"]


def test_declines_are_added_over_passages_without_the_answer(index: Path) -> None:
    examples = build(index, decline_share=0.4)
    declined = [e for e in examples if e.declines]
    assert 0.3 <= len(declined) / len(examples) <= 0.5
    assert {example.target for example in declined} == {DECLINE}
    assert "zebras-q" in {example.id for example in declined}
    answers = {r.id: r.answers for r in ROWS}
    for example in declined:
        assert not any(answer in example.messages[0]["content"] for answer in answers[example.id])


def test_data_that_never_declines_teaches_no_declining(index: Path) -> None:
    assert not any(example.declines for example in build(index, ROWS[:-1], decline_share=0.4))


def test_the_same_seed_gives_the_same_examples(index: Path) -> None:
    assert build(index, seed=3, decline_share=0.3) == build(index, seed=3, decline_share=0.3)
    assert build(index, seed=3, decline_share=0.3) != build(index, seed=4, decline_share=0.3)


def test_nothing_to_learn_from_is_an_error(index: Path) -> None:
    with pytest.raises(SluiceError, match="no training rows"):
        build(index, [])
    with pytest.raises(SluiceError, match="has its answer in the index"):
        build(index, [row("apples", "a thousand")])


def test_a_tenant_s_passages_are_never_learned(index: Path) -> None:
    chunks = read_jsonl(index / "chunks.jsonl")
    secret = {"id": "z#0", "doc_id": "z", "title": " ".join(TOPICS), "text": "Ours alone.", "tenant": "acme"}
    write_jsonl(index / "chunks.jsonl", [secret, *chunks])
    vectors = np.load(index / "vectors.npy")
    np.save(index / "vectors.npy", np.vstack([np.ones((1, len(TOPICS)), dtype=np.float32), vectors]))
    examples = build(index)
    assert {example.id for example in examples} == {one.id for one in ROWS}
    assert not [example for example in examples if "Ours alone." in example.messages[0]["content"]]


def test_more_draws_ask_every_row_again_among_other_neighbours(index: Path) -> None:
    once, thrice = build(index), build(index, draws=3)
    assert [e.id for e in thrice[: len(once)]] == [e.id for e in once]
    assert len(thrice) == 3 * len(once)
    assert len({e.messages[0]["content"] for e in thrice}) > len({e.messages[0]["content"] for e in once})


def test_passages_may_stand_in_the_order_of_retrieval(index: Path) -> None:
    for example in build(index, order="rank"):
        if not example.declines:
            topic = example.id.removesuffix("-q")
            assert example.messages[0]["content"].startswith(f"[1] {topic}: ")


STYLES = {name: (f"{name}!",) for name in ("answer", "span", "sentence", "explain", "steps", "source", "formal")}
SENTENCES = ["The number of clocks is two hundred.", "They tick.", "Nobody winds them."]


@pytest.mark.parametrize(
    ("answer", "key", "expected"),
    [
        (
            "two hundred",
            (),
            {
                "span": "two hundred",
                "answer": SENTENCES[0],
                "sentence": SENTENCES[0],
                "explain": " ".join(SENTENCES[:2]),
                "steps": f"1. {SENTENCES[0]}\n2. {SENTENCES[1]}",
                "source": f"{SENTENCES[0]} (Clocks)",
                "formal": f"According to Clocks: {SENTENCES[0]}",
            },
        ),
        (
            "There are two hundred of them, and nobody winds the clocks.",
            (("two hundred",), ("winds",)),
            {
                "answer": f"{SENTENCES[0]} {SENTENCES[2]}",
                "explain": " ".join(SENTENCES),
                "steps": "\n".join(f"{number}. {one}" for number, one in enumerate(SENTENCES, 1)),
            },
        ),
    ],
)
def test_an_answer_in_each_style_is_made_of_sentences_that_state_it(answer, key, expected) -> None:
    asked = row("clocks", answer).model_copy(update={"expect": ExpectedBehaviour(answer_key=key)})
    assert targets_of(asked, [SENTENCES], STYLES, "Clocks") == expected


def test_of_evidence_the_first_sentences_are_learned() -> None:
    assert evidence_targets(row("clocks", "two hundred"), shown(SENTENCES), STYLES) == {
        "answer": " ".join(SENTENCES[:2]),
        "explain": " ".join(SENTENCES),
        "steps": "\n".join(f"{number}. {one}" for number, one in enumerate(SENTENCES, 1)),
        "sentence": SENTENCES[0],
        "source": f"{SENTENCES[0]} (Clocks)",
        "formal": f"According to Clocks: {SENTENCES[0]}",
        "span": "two hundred",
    }
    late = evidence_targets(row("clocks", "two hundred"), shown(SENTENCES[::-1]), STYLES)
    assert (late.get("answer"), late["sentence"]) == (None, SENTENCES[0])
    four = shown([*SENTENCES, "Nothing more."])
    assert evidence_targets(row("clocks", "two hundred"), four, STYLES)["answer"] == " ".join(SENTENCES)
    assert evidence_targets(row("clocks", "a thousand"), shown(SENTENCES), STYLES) == {}


def test_of_a_longer_answer_the_span_is_the_fewest_words_that_state_its_key() -> None:
    asked = row("clocks", "There are two hundred of them, and nobody winds the clocks.")
    for key, span in (
        ((("2 hundred", "two hundred"),), "two hundred"),
        ((("number",), ("two hundred",)), "number of clocks is two hundred"),
        ((("winds",),), None),  # of another sentence than that which is shown
        ((), None),
    ):
        keyed = asked.model_copy(update={"expect": ExpectedBehaviour(answer_key=key)})
        assert evidence_targets(keyed, shown(SENTENCES[:1]), STYLES).get("span") == span


def shown(texts: Sequence[str]) -> list[Hit]:
    return [Hit("clocks#0", "clocks", "Clocks", text, 0.5, 0.5, 0) for text in texts]


def test_sentences_are_shown_in_place_of_passages_and_a_reply_needs_none(
    index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evidence_reader, "is_small_talk", lambda text: text.tokens[0] == "Hello!")
    hello = [
        Row(id=f"hello-{number}", question=question, answers=("Good day.",), doc_ids=())
        for number, question in enumerate(("Hello there!", "Hello! Any clocks?"))
    ]
    styles = {"instructions": {**STYLES, "welcome": ("Greet.",)}}
    examples = build(index, [*ROWS[:-1], *hello], sentences=1, min_similarity=0.5, replies=3, **styles)
    assert [example.id for example in examples].count("hello-0") == 3
    for example in examples:
        shown = example.messages[0]["content"]
        if example.id.startswith("hello"):
            assert example.target == "Good day."
            assert shown.startswith("(no passages)\n")
        else:
            assert shown.count("[") == 1
            assert example.id.removesuffix("-q") in shown


def test_what_serving_declines_without_a_model_is_not_learned(index: Path) -> None:
    learned = {most: {one.id for one in build(index, sentences=1, max_doubt=most)} for most in (1, 0.9, 0)}
    assert "zebras-q" in learned[1]
    assert learned[0.9] == learned[0] == {one.id for one in ROWS[:-1]}


def test_the_last_question_is_learned_behind_others_too(index: Path) -> None:
    said = tuple(
        EarlierMessage(role=role, content=content)
        for role, content in (("user", "And bridges?"), ("assistant", "one hundred"))
    )
    messages = (PROMPT.messages[0].model_copy(update={"content": "{{history}}{{question}}"}),)
    variables = tuple(Variable(name=name) for name in ("history", "question"))
    prompt = PROMPT.model_copy(update={"messages": messages, "variables": variables})
    rows = [one.model_copy(update={"history": said} if number == 0 else {}) for number, one in enumerate(ROWS * 20)]
    rows = [one.model_copy(update={"id": f"{one.id}{number}"}) for number, one in enumerate(rows)]
    params = TrainingParameters.model_validate({"passages": 2, "decline_share": 0.0})
    texts = [e.messages[0]["content"] for e in build_examples(rows, index, OneHot(), prompt, DECLINE, params)]
    behind = [text for text in texts if text.startswith("Earlier:\nUser: And bridges?\nAssistant: one hundred\n\nHow")]
    assert 1 < len(behind) < len(texts) / 2
