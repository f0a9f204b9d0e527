"""How the starter prepares a question: its courtesies, its spelling, its language, and what was said before it."""

from __future__ import annotations

import asyncio
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from assistant.question import Speller, bare, is_personal, leans
from sluice.extend import testing
from unit.extras.evidence.test_doubt import HITS, SAID, UNSAID, Search
from unit.extras.evidence.test_evidence_reader import hit


def test_misspelt_words_become_those_of_the_documents(tmp_path: Path) -> None:
    chunks = [
        {"title": "Canary releases", "text": "A batch of requests."},
        {"title": "Ours", "text": "Secretive batches.", "tenant": "acme"},
    ]
    (tmp_path / "chunks.jsonl").write_text("\n".join(map(json.dumps, chunks)))
    with zipfile.ZipFile(tmp_path / "embedder.zip", "w") as archive:
        archive.writestr("vocabulary.json", json.dumps(["large", "relief"]))
    speller = Speller.of(tmp_path, tmp_path / "embedder.zip")
    assert speller.mend("how large is a cannary bacth of reqeusts") == "how large is a canary batch of requests"
    assert speller.mend("Canarys give relief; secretve, xylophone!") == "Canarys give relief; secretve, xylophone!"
    assert not speller.is_foreign("qu'est ce que le canary")  # of few documents nothing can be said
    assert speller.mend("search for datches") == "search for datches"  # a slip keeps the first letter
    assert Speller.of(tmp_path / "none", tmp_path).mend("bacth") == "bacth"


def test_a_question_in_another_language_is_told_by_its_words() -> None:
    speller = Speller(
        {"what", "does", "canary", "releases"} | {f"word{chr(97 + n % 26) * (n // 26)}" for n in range(2000)}
    )
    asked = ("What does a canary do?", "Was ist ein Canary?", "Canary Wochen", "¿Qué es?")
    assert [speller.is_foreign(question) for question in asked] == [False, True, False, False]


def test_the_starter_searches_for_a_long_question_without_its_courtesies() -> None:
    story = "we run a canary of a new release for some of our users. Could you {}tell me how long it may last?"
    long = f"Hello team, {story.format('please ')} Thank you so much for all!"
    assert " ".join(bare(long).split()) == story.format("")
    assert bare("Hello, how long is it?") == "Hello, how long is it?"
    thanked = (
        "Good morning and thank you for your help so far. Yesterday our assistant answered with old terms, {}. Why?"
    )
    assert bare(thanked.format("to one customer at least")).startswith("Yesterday our assistant")


@pytest.mark.parametrize(
    ("question", "personal"),
    [
        ("What can you do?", True),
        ("that was all", True),
        ("Who am I talking to?", True),
        ("Hello bot, how are things?", True),
        ("Why K?", False),
        ("sorry, I meant the rate", False),
        ("whats the minimum", False),
        ("Could you recommend a present for my niece?", False),
        ("Tell me a joke about cats", False),
        (f"We lost a key{' and a key' * 6}. Could you tell me what to do?", False),
    ],
)
def test_the_starter_asks_its_model_what_is_about_the_assistant_or_no_question(question: str, personal: bool) -> None:
    assert is_personal(question) is personal


@pytest.mark.parametrize(
    ("question", "after"),
    [
        ("and how long?", True),
        ("Does it wait?", True),
        ("batch size?", True),
        ("Which of the two is worse?", True),
        ("What do I compare then?", True),
        ("Sorry, I meant the meeting.", True),
        ("How often do we rehearse rollbacks?", False),
        ("Thanks! Which train goes to Vienna?", False),
        ("Who are you?", False),
    ],
)
def test_the_starter_knows_a_question_that_leans_on_the_one_before(question: str, after: bool) -> None:
    assert leans(question) is after


@pytest.mark.parametrize(
    ("question", "searched"),
    [
        ("no sorry, I meant the retrieval one", "the retrieval one"),
        ("No, the other model I mean.", "No, the other model I mean."),
        ("I meant", "I meant"),
    ],
)
def test_the_starter_searches_for_what_was_meant(question: str, searched: str) -> None:
    assert bare(question) == searched


def test_the_starter_searches_for_a_change_of_topic_alone() -> None:
    asked = [UNSAID, "As said.", SAID]
    leaning = [SAID, "As said.", "And rollbacks mind canaries?"]
    found = {
        **HITS,
        "\n".join(leaning): HITS[UNSAID],
        leaning[-1]: [hit("Rollbacks mind canaries."), hit("So be it.", 0.3)],
    }

    def ask(*said: str) -> tuple[str, list[str]]:
        search = Search(found)
        settings = {
            "retrieval": {"k": 3, "min_similarity": 0.25, "max_doubt": 0.5},
            "condense": {"enabled": False, "turns": 2, "max_characters": 40, "timeout_seconds": 2},
        }
        bundle = testing.scripted_bundle(**settings)
        runner = testing.run_application(testing.ScriptedChat({"": "5 percent"}), search, bundle=bundle)
        messages = [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(said)]
        return asyncio.run(runner.answer(messages)).text, [question for question, _ in search.asked]

    assert ask(*asked) == ("5 percent", [SAID])
    # What leans on the question before is searched for with it first, and alone where that is doubted.
    assert ask(*leaning) == ("5 percent", ["\n".join(leaning), leaning[-1]])


@pytest.mark.parametrize(
    ("question", "documents", "declined"),
    [
        (UNSAID, set(), True),  # does not lean
        ("And do rollbacks mind Vienna?", {"rollbacks", "mind"}, True),  # nothing is near it, and one word is strange
        ("And do rollbacks mind canaries?", {"rollbacks", "mind", "canary", "canaries"}, False),
    ],
)
def test_the_starter_declines_a_second_question_about_something_else(
    monkeypatch: pytest.MonkeyPatch, question: str, documents: set[str], declined: bool
) -> None:
    """Whatever the search finds for it with the turn before, which is about canaries."""
    monkeypatch.setattr(Speller, "of", lambda *_: Speller(documents))
    joined = f"{SAID}\nAs said.\n{question}"
    search = Search({question: [], joined: [hit("Rollbacks mind canaries."), hit("So be it.", 0.3)]})
    bundle = testing.scripted_bundle(
        retrieval={"k": 3, "min_similarity": 0.25, "max_doubt": 0.5},
        condense={"enabled": False, "turns": 2, "max_characters": 40, "timeout_seconds": 2},
    )
    runner = testing.run_application(testing.ScriptedChat({"": "5 percent"}), search, bundle=bundle)
    turns = [("user", SAID), ("assistant", "As said."), ("user", question)]
    answer = asyncio.run(runner.answer([{"role": role, "content": text} for role, text in turns]))
    assert (answer.declined, [asked for asked, _ in search.asked]) == (declined, [question if declined else joined])


def test_a_word_is_strange_if_the_documents_do_not_have_it() -> None:
    speller = Speller({"canary", "releases"}, {"vienna"})
    asked = ("a Canary?", "Do canarys release?", "releases in Vienna")
    assert [speller.knows(question) for question in asked] == [True, False, False]
    assert Speller(()).knows("releases in Vienna")


@pytest.mark.parametrize(("max_doubt", "of_the_foreign"), [(0.5, (True, 0, 0)), (1.0, (False, 1, 1))])
def test_the_starter_declines_what_is_in_another_language_unless_it_may_be_a_greeting(
    monkeypatch: pytest.MonkeyPatch, max_doubt: float, of_the_foreign: tuple[bool, int, int]
) -> None:
    """With `max_doubt: 1` declining is for the model, in other languages too."""
    monkeypatch.setattr(Speller, "is_foreign", lambda self, question: question.startswith("Wie"))  # noqa: ARG005
    asked, foreign = [], ("Wie lange dauert ein Canary?", "Wie nett von dir")
    for question in (*foreign, SAID):
        chat, search = testing.ScriptedChat({"": "5 percent"}), Search({**HITS, **dict.fromkeys(foreign, HITS[SAID])})
        bundle = testing.scripted_bundle(retrieval={"k": 3, "min_similarity": 0.25, "max_doubt": max_doubt})
        bundle = replace(bundle, prompts={**bundle.prompts, "welcome": bundle.prompts["answer"]})
        answer = asyncio.run(
            testing.run_application(chat, search, bundle=bundle).answer([{"role": "user", "content": question}])
        )
        asked.append((answer.declined, len(chat.calls), len(search.asked)))
    assert asked[::2] == [of_the_foreign, (False, 1, 1)]
    assert asked[1][:2] == (False, 1)
