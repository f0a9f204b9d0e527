"""Citations, and weakness 4: what leaves beside the answer, citations above all, has passed the output guard too."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sluice.core.atomic_files import write_json
from sluice.data.rows import Document
from sluice.guardrails.guards import GuardOutcome, Guards
from sluice.guardrails.settings import GuardrailSettings
from sluice.retrieval import Hit
from sluice.retrieval.index_files import PAGES, ChunkerSettings, pages_of
from sluice.serving.answer import cite
from sluice.serving.http_api import create_app
from sluice.serving.middleware import TrafficState
from sluice.serving.runner import ApplicationRunner
from support.serving.fakes import ScriptedChat, ScriptedRetriever, hit, scripted_bundle
from unit.serving.client import Client
from unit.serving.test_http_api import events

PASSAGE = "Canary steps: start at 5 %, then 25 %. The ﬁrst step lasts ten minutes; the second, one hour."


@pytest.mark.parametrize(
    ("answer", "span"),
    [
        ("ten minutes", "ten minutes"),
        ("Ten  minutes.", "ten minutes"),
        ("the FIRST step", "The ﬁrst step"),
        ("“one hour”", "one hour"),
        ("minutes the second one", "minutes; the second, one"),
    ],
)
def test_the_span_is_the_wording_of_the_passage(answer: str, span: str) -> None:
    (citation,) = cite(answer, [hit(PASSAGE)])
    assert citation.text == span == PASSAGE[citation.start : citation.end]


def test_every_passage_that_holds_the_answer_is_cited_once() -> None:
    hits = [hit("a b. a b.", doc_id="one"), hit("nothing", doc_id="two"), hit("x A B", doc_id="three")]
    assert [(c.document, c.start, c.score) for c in cite("a b", hits)] == [("one", 0, 0.45), ("three", 2, 0.45)]


def test_sentences_of_several_places_are_cited_one_by_one() -> None:
    hits = [hit("First this. And more. Then that.", doc_id="one"), hit("Always so.", doc_id="two")]
    found = cite("1. First this.\n2. Always so. Then that.", hits)
    assert [(c.document, c.text) for c in found] == [("one", "First this"), ("two", "Always so"), ("one", "Then that")]
    assert cite("First this. Nowhere.", hits)[0].text == "First this"
    assert cite("two minutes", hits) == cite("...", hits) == cite("", hits) == ()


QUESTION = "When does the harbour open?"
ANSWER = "It opens at seven fifteen."
MAIL, PHONE, CARD = "jo.doe@example.org", "+1 555 123 4567", "4111 1111 1111 1111"
PLANTED = f"Notes. {ANSWER} Questions go to {MAIL}, {PHONE} or {CARD}."
GUARDRAILS = GuardrailSettings.model_validate(
    {
        "timeout_seconds": 60,
        "input": [{"check": "injection", "action": "block"}],
        "output": [{"check": name, "action": "redact"} for name in ("secrets", "personal_data", "markup")],
    }
)


@pytest.fixture(scope="module")
def guards() -> Guards:
    return Guards(GUARDRAILS)


class CountingGuards(Guards):
    """Counts what is shown to the output guard; `broken` texts end in an error of a check."""

    def __init__(self, broken: str = "\0") -> None:
        super().__init__(GUARDRAILS)
        self._broken = broken
        self.shown: list[str] = []

    async def check_output(self, text: str, links: Sequence[str] = ()) -> GuardOutcome:
        self.shown.append(text)
        if self._broken in text:
            return GuardOutcome("", True, ("guardrails.error",))
        return await super().check_output(text, links)


def client_of(guards: Guards, hits: Sequence[Hit], **parts: Any) -> Client:
    chat = ScriptedChat({"harbour": ANSWER})
    chain = ApplicationRunner(replace(scripted_bundle(), **parts), chat, ScriptedRetriever({QUESTION: hits}), guards)
    return Client(create_app(scripted_bundle(), chain, TrafficState()))


def both(client: Client) -> list[dict[str, Any]]:
    """The one citation of an answer, whole and as a stream; nothing personal is in either."""
    whole, stream = client.chat(QUESTION), client.chat(QUESTION, stream=True)
    for reply in (whole, stream):
        assert reply.status_code == 200
        assert [word for word in (MAIL, PHONE, CARD, "onload", "hunter22x") if word in reply.text] == []
    (last,) = [chunk for chunk in events(stream)[:-1] if "citations" in chunk]
    assert last["citations"] == whole.json()["citations"]
    found: list[dict[str, Any]] = whole.json()["citations"]
    return found


@pytest.mark.parametrize(
    "planted",
    [PLANTED, f"{ANSWER} password: hunter22x", f"{ANSWER} <script>alert(1)</script>"],
    ids=lambda text: text[-12:],
)
def test_weakness_4_a_passage_with_more_is_cut_to_what_is_cited(guards: Guards, planted: str) -> None:
    (citation,) = both(client_of(guards, [hit(planted, doc_id="harbour", title="Harbour")]))
    passage = citation["passage"]
    assert passage["text"] == citation["text"] == ANSWER.rstrip(".")
    start = planted.index(ANSWER)
    assert (citation["start"], passage["start"]) == (start, start)
    assert citation["end"] - start == len(citation["text"])
    assert (citation["title"], citation["document"]) == ("Harbour", "harbour")


@pytest.mark.parametrize("title", [f"Mail of {MAIL}", '"><svg onload=alert(1)>', "password: hunter22x"])
def test_weakness_4_a_title_leaves_as_the_guard_lets_it(guards: Guards, title: str) -> None:
    (citation,) = both(client_of(guards, [hit(f"Notes. {ANSWER}", doc_id="harbour", title=title)]))
    assert citation["passage"]["text"] == f"Notes. {ANSWER}"
    assert "[redacted: " in citation["title"]


def test_weakness_4_what_a_check_could_not_judge_does_not_leave() -> None:
    hits = [hit(f"Notes that break it. {ANSWER}", doc_id="harbour", title="Harbour")]
    (citation,) = both(client_of(CountingGuards(broken="break it"), hits))
    assert citation["passage"]["text"] == ANSWER.rstrip(".")
    (citation,) = both(client_of(CountingGuards(broken="Harbour"), hits))
    assert citation["title"] == ""


def test_what_is_clean_leaves_whole_and_is_judged_once() -> None:
    counting = CountingGuards()
    passage = f"Notes. {ANSWER} It closes late."
    (citation,) = both(client_of(counting, [hit(passage, doc_id="harbour", title="Harbour")]))
    assert citation["passage"]["text"] == passage
    assert counting.shown.count(passage) == counting.shown.count("Harbour") == 1


def test_links_that_a_passage_states_leave_and_no_others(guards: Guards) -> None:
    link = "https://docs.example.net/harbour"
    chat = ScriptedChat({"harbour": f"See {link} first. Then https://docs.example.net/?q=harbour now."})
    found = ScriptedRetriever({QUESTION: [hit(f"Notes. See {link} first.", doc_id="harbour")]})
    chain = ApplicationRunner(scripted_bundle(), chat, found, guards)
    reply = Client(create_app(scripted_bundle(), chain, TrafficState())).chat(QUESTION).json()
    said = reply["choices"][0]["message"]["content"]
    assert said == f"See {link} first. Then [redacted: link] now."
    assert reply["citations"][0]["passage"]["text"] == f"Notes. See {link} first."


@pytest.mark.parametrize(
    ("source", "chunker", "address"),
    [
        ("https://example.org/a.md", "structure", "https://example.org/a.md#opens-when-1"),
        ("https://example.org/a#x", "structure", "https://example.org/a#x"),
        ("https://example.org/a.md", "paragraph", "https://example.org/a.md"),
        ("javascript:alert(1)", "structure", None),
        ("a handbook (a.md)", "structure", None),
    ],
)
def test_a_citation_s_address(guards: Guards, tmp_path: Path, source: str, chunker: Any, address: str | None) -> None:
    text = f"# Harbour\n\n## `Opens`, when?\n\nOn Monday.\n\n## Opens when\n\n{ANSWER}\n\n## Later\n\nNo."
    document = Document(id="harbour", title="Harbour", licence="CC0-1.0", source=source, text=text)
    write_json(tmp_path / PAGES, pages_of([document], ChunkerSettings(name=chunker)))
    (citation,) = both(client_of(guards, [hit(text, doc_id="harbour", title="Harbour")], index=tmp_path))
    assert citation["address"] == address
