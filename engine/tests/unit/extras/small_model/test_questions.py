import json
import zipfile
from pathlib import Path

import numpy as np

from sluice.extras.small_model.questions import Speller, bare, is_personal, is_small_talk, leans
from sluice.retrieval.embedder import TokenStates


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
    assert speller.mend("search for datches") == "search for datches"  # a slip keeps the first letter
    assert not speller.is_foreign("qu'est ce que le canary")  # of few documents nothing can be said
    assert Speller.of(tmp_path / "none", tmp_path).mend("bacth") == "bacth"


def test_another_language_and_strange_words_are_told_by_the_documents() -> None:
    speller = Speller(
        {"what", "does", "canary", "releases"} | {f"word{chr(97 + n % 26) * (n // 26)}" for n in range(2000)}
    )
    asked = ("What does a canary do?", "Was ist ein Canary?", "Canary Wochen", "¿Qué es?")
    assert [speller.is_foreign(question) for question in asked] == [False, True, False, False]
    asked = ("a Canary?", "Do canarys release?", "releases in Vienna")
    assert [Speller({"canary", "releases"}, {"vienna"}).knows(question) for question in asked] == [True, False, False]
    assert Speller(()).knows("releases in Vienna")


def test_a_long_question_loses_its_courtesies_and_a_correction_its_beginning() -> None:
    story = "we run a canary of a new release for some of our users. Could you {}tell me how long it may last?"
    assert " ".join(bare(f"Hello team, {story.format('please ')} Thank you so much for all!").split()) == story.format(
        ""
    )
    assert bare("Hello, how long is it?") == "Hello, how long is it?"
    assert bare("no sorry, I meant the retrieval one") == "the retrieval one"
    assert bare("No, the other model I mean.") == "No, the other model I mean."
    assert bare("I meant") == "I meant"


def test_what_may_be_about_the_assistant_is_told_from_errands_and_questions() -> None:
    long = f"We lost a key{' and a key' * 6}. Could you tell me what to do?"
    asked = ("What can you do?", "that was all", "sorry, I meant the rate", "Tell me a joke about cats", long)
    assert [is_personal(one) for one in asked] == [True, True, False, False, False]


def test_a_question_that_leans_on_the_one_before_is_told() -> None:
    asked = ("and how long?", "batch size?", "Which of the two is worse?", "How often do we rehearse?", "Who are you?")
    assert [leans(one) for one in asked] == [True, True, True, False, False]


def test_small_talk_is_not_told_by_vectors_of_another_embedder() -> None:
    assert not is_small_talk(TokenStates(["hello"], [1], np.ones((1, 3), np.float32)))
