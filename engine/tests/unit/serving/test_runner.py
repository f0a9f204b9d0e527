import asyncio
import dataclasses
from collections.abc import Callable, Sequence

import pytest

from assistant.app import HELP
from sluice.core.errors import SluiceError
from sluice.guardrails.guards import GuardOutcome, Guards
from sluice.prompts import Prompt
from sluice.serving.answer import REFUSED, Answer, Usage
from sluice.serving.release_parts import ReleaseBundle
from sluice.serving.runner import ApplicationRunner, SentenceSplitter
from support.serving.fakes import NoChecks, ScriptedChat, ScriptedRetriever, hit
from unit.serving.client import OVERLAP, stream

OWNER = "Who answers for this?"
DECLINE = "The handbook does not say."
MakeChain = Callable[[ScriptedChat], ApplicationRunner]


def user(content: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": content}]


def ask(chain: ApplicationRunner, question: str) -> Answer:
    return asyncio.run(chain.answer(user(question)))


def test_the_model_gets_the_prompt(chain: ApplicationRunner, chat: ScriptedChat, retriever: ScriptedRetriever) -> None:
    ask(chain, OVERLAP)
    assert retriever.asked == [(OVERLAP, 3)]
    (call,) = chat.calls
    assert call["messages"][0] == ("system", f"Else say: {DECLINE}")
    assert call["messages"][1][1].startswith("[1] Chunking: Neighbouring chunks")
    assert call["messages"][1][1].endswith(f"\n\nQuestion: {OVERLAP}")
    assert (call["temperature"], call["max_tokens"], call["seed"], call["stop"]) == (0.5, 7, 3, ("END",))


def test_distant_passages_are_declined_without_the_model(chain: ApplicationRunner, chat: ScriptedChat) -> None:
    answer = ask(chain, "What is the capital of Peru?")
    assert (answer.text, answer.declined) == (f"{DECLINE}\n\n{HELP}", True)
    assert (answer.blocked, answer.citations, answer.usage) == (None, (), Usage(0, 0))
    assert len(answer.hits) == 1
    assert chat.calls == []


@pytest.mark.parametrize(
    ("said", "cited"),
    [
        ("The handbook does not say", []),
        (" the HANDBOOK does not say! ", []),
        ("the handbook does not say!\n\n1. 64 tokens.", ["64 tokens"]),
    ],
)
def test_the_model_s_decline_is_recognized(bundle: ReleaseBundle, guards: Guards, said: str, cited: list[str]) -> None:
    found = [hit(f"Overlap is 64 tokens. {DECLINE}")]
    chat = ScriptedChat(script={"overlap": said})
    answer = ask(ApplicationRunner(bundle, chat, ScriptedRetriever({OVERLAP: found}), guards), OVERLAP)
    assert answer.declined
    assert [citation.text for citation in answer.citations] == cited
    assert answer.usage.prompt_tokens == 11


def test_earlier_turns_are_checked_too(bundle: ReleaseBundle, chat: ScriptedChat, retriever: ScriptedRetriever) -> None:
    class Watching(NoChecks):
        async def check_input(self, text: str, earlier: Sequence[str] = ()) -> GuardOutcome:
            seen.append((text, earlier))
            return await super().check_input(text)

    seen: list[tuple[str, Sequence[str]]] = []
    said = [("system", "Be short."), ("user", "a" * 3000), ("assistant", " "), ("user", "b"), ("assistant", "c")]
    messages = [{"role": role, "content": text} for role, text in said]
    chain = ApplicationRunner(bundle, chat, retriever, Watching())
    asyncio.run(chain.answer([*messages, *user(OVERLAP)]))
    assert seen[0] == (OVERLAP, ("a" * 2000, "b", "c"))
    asyncio.run(chain.answer([*4 * messages, *user(OVERLAP), {"role": "assistant", "content": "after it"}]))
    assert seen[-1][1] == ("a" * 2000, "b", "c") * 2


REDACTED = "Write to [redacted: email]. Or call [redacted: phone]! That is all."


@pytest.mark.parametrize("piece", [1, 1000])
def test_stream_and_whole_answer_are_the_same_however_the_model_cuts(make_chain: MakeChain, piece: int) -> None:
    script = {"Who answers": "  Write to owner@example.org. Or call +1 555 123 4567! That is all.\n"}
    chain = make_chain(ScriptedChat(script=script, piece=piece))
    pieces, streamed = stream(chain, OWNER)
    assert pieces == ["Write to [redacted: email].", " Or call [redacted: phone]!", " That is all."]
    assert "".join(pieces) == streamed.text == ask(chain, OWNER).text == REDACTED


def test_a_sentence_is_sent_before_the_next_is_written(make_chain: MakeChain) -> None:
    chat = ScriptedChat(script={"overlap": "One two. " + "x" * 40}, delay=0.02)
    chain = make_chain(chat)

    async def written() -> list[int]:
        """Pieces that the model had written at each piece of the stream."""
        return [len(chat.sent) async for _ in chain.stream(user(OVERLAP))]

    first, *_, last = asyncio.run(written())
    assert first < last / 2


def test_a_blocked_sentence_ends_the_answer(make_chain: MakeChain) -> None:
    reply = "It is 64. The key is AKIA" + "IOSFODNN7ABCDEFG. Keep it."
    pieces, answer = stream(make_chain(ScriptedChat(script={"overlap": reply})))
    assert pieces == ["It is 64."]
    assert (answer.text, answer.blocked, answer.finish_reason) == ("It is 64.", "secrets.api_key", "content_filter")
    assert answer.citations == ()


def test_an_answer_blocked_from_its_start_is_a_decline(make_chain: MakeChain) -> None:
    answer = ask(make_chain(ScriptedChat(script={"overlap": "AKIA" + "IOSFODNN7ABCDEFG"})), OVERLAP)
    assert (answer.text, answer.blocked, answer.declined) == (REFUSED, "secrets.api_key", True)


def test_an_empty_answer_stays_empty(make_chain: MakeChain) -> None:
    answer = ask(make_chain(ScriptedChat(script={"overlap": "  \n"})), OVERLAP)
    assert (answer.text, answer.declined, answer.ttft_ms, answer.citations) == ("", False, None, ())


def test_many_questions_at_once_keep_apart(chain: ApplicationRunner) -> None:
    async def all_at_once() -> list[Answer]:
        return await asyncio.gather(*(chain.answer(user(OVERLAP if n % 2 else OWNER)) for n in range(20)))

    assert [answer.text for answer in asyncio.run(all_at_once())] == [REDACTED, "64 tokens"] * 10


def _prompted(bundle: ReleaseBundle, content: str, *variables: str) -> ReleaseBundle:
    """The release with an answer prompt of this one message."""
    prompt = bundle.prompts["answer"]
    changed = Prompt.model_validate(
        {
            **prompt.model_dump(by_alias=True),
            "messages": [{"role": "user", "content": content}],
            "variables": [{"name": name} for name in variables],
            "testData": [],
        }
    )
    return dataclasses.replace(bundle, prompts={**bundle.prompts, "answer": changed})


def test_a_bare_prompt(bundle: ReleaseBundle, chat: ScriptedChat, retriever: ScriptedRetriever, guards: Guards) -> None:
    bare = _prompted(bundle, "{{question}}", "question")
    assert ask(ApplicationRunner(bare, chat, retriever, guards), OVERLAP).text == "64 tokens"
    assert chat.calls[0]["messages"] == [("user", OVERLAP)]


@pytest.mark.parametrize(
    ("content", "variables", "named"),
    [
        ("{{passages}}", ("passages",), r"no message holds \{\{question\}\}"),
        ("{{question}} {{passage}}", ("question", "passage"), "nothing fills 'passage' .*'passages'"),
    ],
)
def test_a_prompt_that_the_chain_cannot_fill_is_refused_before_the_first_question(
    bundle: ReleaseBundle,
    chat: ScriptedChat,
    retriever: ScriptedRetriever,
    guards: Guards,
    content: str,
    variables: tuple[str, ...],
    named: str,
) -> None:
    with pytest.raises(SluiceError, match=named) as caught:
        ApplicationRunner(_prompted(bundle, content, *variables), chat, retriever, guards)
    assert "prompts/answer.prompt.yml" in caught.value.message


TEXT = 'One is 3.14 long. "Two!" Three?) \n\n Four… five e.g. six\n seven'
SENTENCES = ["One is 3.14 long.", ' "Two!"', " Three?)", " \n\n Four…", " five e.g.", " six\n seven"]


@pytest.mark.parametrize("size", [1, 100])
def test_the_cut_does_not_depend_on_the_pieces(size: int) -> None:
    sentences = SentenceSplitter()
    found = [s for start in range(0, len(TEXT), size) for s in sentences.feed(TEXT[start : start + size])]
    assert [*found, sentences.rest()] == SENTENCES
    assert sentences.rest() == ""


def test_a_mark_between_letters_that_stand_apart_ends_nothing() -> None:
    sentences = SentenceSplitter()
    apart = "   ".join(" ".join(word) for word in ("at", "me@example.org."))
    assert sentences.feed(f"It is {apart} ") == []
    assert sentences.feed("All of it. ") == [f"It is {apart} All of it."]
