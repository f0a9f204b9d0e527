import json

import pytest
import yaml

from sluice.core.errors import SluiceError
from sluice.core.workspace import Workspace
from sluice.data.privacy import PrivacyPolicy
from sluice.data.rows import Document, Row, write_document
from sluice.extras.datakit.proposals import Proposal
from sluice.extras.datakit.start import propose
from sluice.llm import resilience
from sluice.llm.provider_failures import FailureKind, ProviderError
from support.serving.fakes import ScriptedChat, provider_entry

PAGE = """# {0}

The {0} fee defaults to {1} euros. To moor in the {0}, call its office.

## {0} lines

* `bow` - The line at the front of the {0} boat.
* `stern` - The line at the back of the {0} boat.
* `spring` - The line that keeps the {0} boat in place.
"""
PLACES = {"harbour": 20, "marina": 30, "lagoon": 40, "fjord": 50, "strait": 60}


@pytest.fixture
def here(workspace: Workspace) -> Workspace:
    for path in (workspace.data / "corpus").iterdir():
        path.unlink()
    for place, fee in PLACES.items():
        add(workspace, place, PAGE.format(place, fee))
    return workspace


def add(workspace: Workspace, name: str, text: str, tenant: str | None = None) -> None:
    one = Document(id=name, title=name, licence="CC0-1.0", source="tests", tenant=tenant, text=text)
    write_document(workspace.data / "corpus", one)


def proposed(workspace: Workspace, count: int = 100, **known: list[Row]) -> list[Proposal]:
    return propose(workspace, known, count, PrivacyPolicy()).proposals


def test_templates_ask_what_a_statement_answers(here: Workspace) -> None:
    add(here, "own", PAGE.format("own", 70), tenant="acme")
    first = proposed(here)
    found = [one.row for one in first]
    place = next(str(one.facts["document"]) for one in first if one.facts["side"] == "train")
    rows = {row.question: row for row in found if row.doc_ids == (place,)}
    assert {question: row.answers for question, row in rows.items()} == {
        f"What does the {place} fee default to?": (f"{PLACES[place]} euros",),
        f"How do I moor in the {place}?": ("call its office",),
        f"What is bow in {place} lines?": (f"The line at the front of the {place} boat",),
        f"What is stern in {place} lines?": (f"The line at the back of the {place} boat",),
        "And spring?": (f"The line that keeps the {place} boat in place",),
    }
    asked = [turn.content for turn in rows["And spring?"].history]
    assert asked == [f"What is stern in {place} lines?", f"The line at the back of the {place} boat"]
    assert all(row.provenance and row.provenance.teacher == "template" for row in found)
    assert not any("own" in row.in_context.split() for row in found), "one tenant's document serves nobody else"


def test_a_third_has_no_answer_unless_the_corpus_says_something_of_the_kind(here: Workspace) -> None:
    questions = [one.row.question for one in proposed(here) if not one.row.answerable]
    assert len(questions) >= 10
    assert not any("fee" in one for one in questions)
    found = proposed(here, 9)
    assert [one.row.answerable for one in found] == [True, True, False] * 3


def test_a_document_is_on_one_side_and_stays_there(here: Workspace) -> None:
    found = proposed(here)
    sides = {one.facts["document"]: one.facts["side"] for one in found}
    assert {(one.facts["document"], one.facts["side"]) for one in found} == set(sides.items())
    assert sorted(sides.values()) == ["eval", "eval", "train", "train", "train"]
    moved = {name: "train" if side == "eval" else "eval" for name, side in sides.items()}
    known = {
        side: [
            Row(id=name, question=f"What does the {name} fee default to?", answers=("x",), doc_ids=(str(name),))
            for name, on in moved.items()
            if on == side
        ]
        for side in ("train", "eval")
    }
    later = proposed(here, **known)
    assert {one.facts["document"]: one.facts["side"] for one in later} == moved
    assert not any("fee default" in one.row.question for one in later), "the data asks that already"


REPLY = {"question": "What do I pay for a night?", "answer": "20 EUROS.", "follow_up": "And how much is it?"}
WHOM = {"question": "Whom do I call before I moor?", "answer": "its office"}


@pytest.fixture
def teacher(here: Workspace, monkeypatch: pytest.MonkeyPatch) -> ScriptedChat:
    path = here.config / "providers.yaml"
    document = yaml.safe_load(path.read_text())
    entry = {"name": "big", "model": "m", "base_url": "http://127.0.0.1:1/v1"}
    document["teacher"] = [provider_entry(kind="openai_compatible", **entry)]
    path.write_text(yaml.safe_dump(document))
    chat = ScriptedChat({f"# {place}\n": "No." for place in PLACES})
    monkeypatch.setattr(resilience, "open_chat", lambda _specs, *, local_url: chat)  # noqa: ARG005
    return chat


def test_a_teacher_writes_in_place_of_the_templates(here: Workspace, teacher: ScriptedChat) -> None:
    bad = [
        {"question": "How long is a night?", "answer": "12 hours"},
        {"question": "Why?"},
        {"question": "", "answer": "x"},
    ]
    lines = [json.dumps(one) for one in (WHOM, *bad, REPLY)]
    again = {**REPLY, "question": "How high is the fee?", "answer": "20 euros"}
    teacher.script = {
        **teacher.script,
        "# harbour\n": "\n".join(["Here:", *lines, json.dumps(again), '{"question": "cut']),
    }
    first, second, third = (one.row for one in proposed(here) if one.row.answerable)
    assert (first.question, first.answers, first.tags) == (WHOM["question"], ("its office",), ("generated",))
    assert getattr(first.provenance, "teacher", "") == "big/m"
    assert (second.question, second.answers) == (REPLY["question"], ("20 EUROS",))
    assert third.question == REPLY["follow_up"], "each third question follows the one before it"
    assert [turn.content for turn in third.history] == [REPLY["question"], "20 EUROS"]


def test_a_teacher_that_is_down_ends_the_run_and_one_that_refuses_costs_a_passage(
    here: Workspace, teacher: ScriptedChat
) -> None:
    refused = ProviderError(FailureKind.REFUSED, "no")
    teacher.script = {**teacher.script, "# harbour\n": json.dumps(WHOM), "# marina\n": refused}
    assert [one.row.question for one in proposed(here) if one.row.answerable] == [WHOM["question"]]
    teacher.script = {**teacher.script, "# marina\n": ProviderError(FailureKind.UNREACHABLE, "connection refused")}
    with pytest.raises(SluiceError, match="could not be asked: connection refused"):
        proposed(here)
    teacher.script = {**teacher.script, "# marina\n": "No.", "# harbour\n": AssertionError("asked again")}
    assert proposed(here), "replies are cached"
