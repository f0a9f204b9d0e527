import asyncio
from dataclasses import replace
from typing import Any

import pytest

from assistant.app import HELP, NEAREST
from sluice.core.errors import SluiceError
from sluice.extend import Answer, testing
from sluice.extras.small_model.assistance import grammar
from sluice.extras.small_model.questions import Speller
from sluice.llm.llama_server import LocalServer
from sluice.serving import runner
from unit.extras.small_model.test_evidence_reader import Encoder, hit

UNSAID = "Which rollbacks mind canaries?"  # of its rare words the passages say none
SAID = "Where do canaries start?"
LEANING = "And rollbacks mind canaries?"
HITS = {
    UNSAID: [hit("As said."), hit("So be it.", 0.49)],
    SAID: [hit("Canaries start at 5 percent."), hit("As said.", 0.3)],
}
RIGHT = [hit("Rollbacks mind canaries."), hit("So be it.", 0.3)]


class Search(testing.ScriptedRetriever):
    embedder = Encoder()


def ask(
    *messages: str, said: str = "5 percent", found: Any = None, welcome: bool = False, help: Any = None, **service: Any
) -> tuple[Answer, testing.ScriptedChat, list[str]]:
    chat, search = testing.ScriptedChat({"": said}), Search({**HITS, **(found or {})})
    service["condense"] = {"enabled": False, "turns": 2, "max_characters": 40, "timeout_seconds": 2}
    bundle = testing.scripted_bundle(small_model=help, **service)
    if welcome:
        bundle = replace(bundle, prompts={**bundle.prompts, "welcome": bundle.prompts["answer"]})
    conversation = [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(messages)]
    answer = asyncio.run(testing.run_application(chat, search, bundle=bundle).answer(conversation))
    return answer, chat, [question for question, _ in search.asked]


def help_of(sentences: int = 0, max_doubt: float = 1) -> dict[str, Any]:
    return {"sentences": sentences, "max_doubt": max_doubt}


def test_what_the_passages_leave_out_is_declined_and_no_model_is_asked() -> None:
    answer, chat, _ = ask(UNSAID, help=help_of(max_doubt=0.5))
    assert answer.text == f"{testing.DECLINE}\n\n{HELP}"
    assert (answer.declined, chat.calls) == (True, [])
    answer, chat, _ = ask(SAID, help=help_of(max_doubt=0.5))
    assert (answer.text, len(chat.calls)) == ("5 percent", 1)


def test_a_decline_is_followed_by_the_sentences_that_come_nearest() -> None:
    answer, chat, _ = ask(UNSAID, help=help_of(2, 0.5))
    assert answer.text == f"{testing.DECLINE}\n\n{NEAREST}\n\n1. As said.\n2. So be it."
    assert (answer.declined, chat.calls) == (True, [])
    assert [one.text for one in answer.citations] == ["As said", "So be it"]
    assert ask(UNSAID, help=help_of(2, 0.5), answers="spans")[0].text == testing.DECLINE


def test_quotes_are_the_sentences_themselves_and_no_model_is_asked() -> None:
    answer, chat, _ = ask(SAID, help=help_of(2) | {"quotes": True})
    assert (answer.text, chat.calls) == ("Canaries start at 5 percent.\n\nAs said.", [])
    assert [one.text for one in answer.citations] == ["Canaries start at 5 percent", "As said"]
    answer, chat, _ = ask(UNSAID, help=help_of(2, 0.5) | {"quotes": True})
    assert (answer.declined, chat.calls) == (True, [])


def test_a_decline_by_the_model_is_followed_so_too() -> None:
    answer, chat, _ = ask(SAID, said=f" {testing.DECLINE}", help=help_of(1))
    assert answer.text == f"{testing.DECLINE}\n\n{NEAREST}\n\n1. Canaries start at 5 percent."
    assert (answer.declined, len(chat.calls), len(answer.citations)) == (True, 1, 1)
    assert ask(SAID, said=testing.DECLINE, help=help_of(1), answers="spans")[0].text == testing.DECLINE
    assert ask(SAID, said=testing.DECLINE)[0].text == f"{testing.DECLINE}\n\n{HELP}"
    more = f"{testing.DECLINE} It is 5."
    assert ask(SAID, said=more, help=help_of(1))[0].text == more


def test_a_list_is_answered_as_it_stands_and_no_model_is_asked() -> None:
    listed = "- Canaries start at 5 percent.\n- Then they grow."
    answer, chat, _ = ask(SAID, found={SAID: [hit(listed)]}, help=help_of(2))
    assert (answer.text, answer.declined, chat.calls) == (listed, False, [])


def test_sentences_are_shown_in_place_of_passages_where_some_are_asked_for() -> None:
    for help in (None, help_of(2)):
        answer, chat, _ = ask(UNSAID, help=help)
        assert (answer.text, len(chat.calls)) == ("5 percent", 1), "without a limit the model decides"
    for sentences, shown in ((0, True), (1, False)):
        _, chat, _ = ask(SAID, help=help_of(sentences, 0.5))
        assert "Canaries start at 5 percent." in str(chat.calls)
        assert ("As said." in str(chat.calls)) is shown


@pytest.mark.parametrize("help", [None, help_of(1)])
def test_with_spans_the_model_is_held_to_what_it_was_shown(help: Any) -> None:
    _, chat, _ = ask(SAID, help=help, answers="spans")
    shown = ["Canaries start at 5 percent.", *(["As said."] if help is None else [])]
    assert chat.calls[0]["grammar"] == grammar(shown, testing.DECLINE)
    assert "grammar" not in ask(SAID, help=help)[1].calls[0]


@pytest.mark.parametrize("service", [{"help": help_of(3)}, {"answers": "spans"}])
def test_a_project_without_the_extra_is_told(monkeypatch: pytest.MonkeyPatch, service: dict[str, Any]) -> None:
    monkeypatch.setattr(runner, "hooks", lambda _: {})
    assert ask(UNSAID)[0].text == "5 percent"
    with pytest.raises(SluiceError, match=r"service\.yaml: .* left out the extra `small_model`"):
        ask(UNSAID, **service)


def test_a_follow_up_is_searched_for_with_what_was_said_and_a_change_of_topic_alone() -> None:
    joined = f"{SAID}\nAs said.\n{LEANING}"
    found = {joined: HITS[UNSAID], LEANING: RIGHT}
    doubting = help_of(max_doubt=0.5)
    assert ask(UNSAID, "As said.", SAID, found=found, help=doubting)[2] == [SAID]
    # What leans on the question before is searched for with it first, and alone where that is doubted.
    answer, _, searched = ask(SAID, "As said.", LEANING, found=found, help=doubting)
    assert (answer.text, searched) == ("5 percent", [joined, LEANING])
    assert ask(SAID, "As said.", LEANING, found=found)[2] == [LEANING], "without the help"


@pytest.mark.parametrize(
    ("question", "documents", "declined"),
    [
        (UNSAID, set(), True),  # does not lean
        ("And do rollbacks mind Vienna?", {"rollbacks", "mind"}, True),  # nothing is near it, and one word is strange
        ("And do rollbacks mind canaries?", {"rollbacks", "mind", "canary", "canaries"}, False),
    ],
)
def test_a_second_question_about_something_else_is_declined(
    monkeypatch: pytest.MonkeyPatch, question: str, documents: set[str], declined: bool
) -> None:
    monkeypatch.setattr(Speller, "of", lambda *_: Speller(documents))
    joined = f"{SAID}\nAs said.\n{question}"
    answer, _, searched = ask(
        SAID, "As said.", question, found={question: [], joined: RIGHT}, help=help_of(max_doubt=0.5)
    )
    assert (answer.declined, searched) == (declined, [question if declined else joined])


@pytest.mark.parametrize(("max_doubt", "of_the_foreign"), [(0.5, (True, 0, 0)), (1.0, (False, 1, 1))])
def test_what_is_in_another_language_is_declined_unless_it_may_be_a_greeting(
    monkeypatch: pytest.MonkeyPatch, max_doubt: float, of_the_foreign: tuple[bool, int, int]
) -> None:
    monkeypatch.setattr(Speller, "is_foreign", lambda self, question: question.startswith("Wie"))  # noqa: ARG005
    foreign = ("Wie lange dauert ein Canary?", "Wie nett von dir")
    outcomes = []
    for question in (*foreign, SAID):
        found = dict.fromkeys(foreign, HITS[SAID])
        answer, chat, searched = ask(question, found=found, welcome=True, help=help_of(max_doubt=max_doubt))
        outcomes.append((answer.declined, len(chat.calls), len(searched)))
    assert outcomes[::2] == [of_the_foreign, (False, 1, 1)]
    assert outcomes[1][:2] == (False, 1)


def test_an_answer_may_begin_at_any_word_and_end_behind_it() -> None:
    assert grammar(['Say "no".', "64 §"], "Don't know.").splitlines() == [
        r'root ::= "Don' + "'" + r't know." | [Ss] "ay" r1 | "\"" r2 | [Nn] "o" r3 | "\"" r4 | "64" r7 | "§" r8',
        'r0 ::= | "Say" r1',
        r'r1 ::= | " \"" r2',
        'r2 ::= | "no" r3',
        r'r3 ::= | "\"" r4',
        'r4 ::= | "." r5',
        'r5 ::= ""',
        'r6 ::= | "64" r7',
        'r7 ::= | " §" r8',
        'r8 ::= ""',
    ]
    assert '"\\n    run" r' in grammar(["Then:\n    run"], "No.")  # code keeps its lines
    assert grammar([], "No.") == 'root ::= "No."'
    without_spaces = 'root ::= "No." | [Gg] "PU" r1 | "上" r2 | "的" r3\n'
    assert grammar(["GPU上的"], "No.").startswith(without_spaces)


PASSAGES = (
    'A "quoted" back\\slash and [brackets] cost 3.5 % of £30m - or more.',
    "Größe, naïve café; Здравствуй мир. ΑΒΓ αβγ 𝔘nicode 🙂 straße ßetween",
    "コンテナはポッドの中で動く。서울은 수도이다.",
)


@pytest.mark.real
def test_llama_cpp_says_nothing_that_is_not_there(models: Any) -> None:
    asked = {"messages": [{"role": "user", "content": "Write a poem about the sea."}], "max_tokens": 64}
    with LocalServer(models.chat, threads=1, context=512, slots=1) as server:
        for passage in PASSAGES:
            limits = {"seed": 1, "temperature": 2.0, "grammar": grammar([passage], testing.DECLINE)}
            reply = server._server.handle_chat_completions({**asked, **limits})
            text = reply["choices"][0]["message"]["content"]
            assert text
            assert text == testing.DECLINE or text.casefold() in passage.casefold()
