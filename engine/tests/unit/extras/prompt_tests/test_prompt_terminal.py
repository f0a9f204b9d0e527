from __future__ import annotations

from typing import Any

import pytest

from sluice.extras.prompt_tests.prompt_terminal import markdown_changes, print_changes
from sluice.prompts import Prompt
from sluice.prompts.prompt_diff import diff_prompts

LONG = "Answer the question from the passages alone, in the words of the passages, and name the passage. " * 2
GOOD: dict[str, Any] = {
    "name": "answer",
    "description": "Answers a question from the passages that were found for it, in as few words as can be.",
    "model": "chat",
    "messages": [
        {"role": "system", "content": LONG},
        {"role": "user", "content": "one\n\nthree\nfour\nfive\n{{question}}"},
    ],
    "variables": [{"name": "question"}],
}


def prompt(**changes: Any) -> Prompt:
    return Prompt.model_validate(GOOD | changes)


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "COLUMNS", "TERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "80")


def shown(capsys: pytest.CaptureFixture[str], base: dict[str, Prompt], head: dict[str, Prompt], *edited: str) -> str:
    print_changes(diff_prompts(base, head), base="main", edited=edited)
    text = capsys.readouterr().out
    assert all(len(line) <= 80 and line == line.rstrip() for line in text.splitlines()), text
    assert "\x1b" not in text
    return text


def test_a_word_that_changed_in_a_long_paragraph(capsys: pytest.CaptureFixture[str]) -> None:
    messages = [{"role": "system", "content": LONG.replace("alone", "only", 1)}, GOOD["messages"][1]]
    old, new = prompt(), prompt(messages=messages, modelParameters={"maxTokens": 9}, description="Other.")
    text = shown(capsys, {"answer": old}, {"answer": new}, "answer")
    assert text.startswith(f"answer  changed  {old.digest[:12]} -> {new.digest[:12]}\n  maxTokens: 48 -> 9\n")
    assert "  message 1, system: changed\n    Answer the question from the passages [-alone-]{+only+}, in" in text
    assert "  message 2, user: same\n  not seen by the model: description\n" in text


def test_the_summary_of_a_job_has_the_same_and_a_prompt_does_not_leave_its_fence(
    capsys: pytest.CaptureFixture[str],
) -> None:
    messages = [{"role": "system", "content": f"````\n# A title\n````\n{LONG}"}, GOOD["messages"][1]]
    old, new = {"answer": prompt()}, {"answer": prompt(messages=messages)}
    text = shown(capsys, old, new, "answer")
    made = markdown_changes(diff_prompts(old, new), base="main", edited={"answer"})
    assert made == f"### Prompts\n\n`````\n{text.rstrip()}\n`````\n"


def test_only_the_lines_near_a_change_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    content = GOOD["messages"][1]["content"].replace("three", "3")
    new = prompt(messages=[GOOD["messages"][0], {"role": "user", "content": content}])
    text = shown(capsys, {"answer": prompt()}, {"answer": new}, "answer")
    assert "  message 2, user: changed\n    …\n\n    [-three-]{+3+}\n    four\n    …\n" in text


def test_added_and_removed_prompts_are_shown_whole(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, {"answer": prompt()}, {"other": prompt(name="other")}, "other")
    assert "answer  removed  " in text
    assert "other  added  " in text
    assert text.count('model "chat", temperature 0, maxTokens 48, topP 1, seed 1, stop []') == 2
    assert text.count("variables: question") == 2
    assert text.count("    five\n    {{question}}\n") == 2
    assert "¶" not in text


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({}, "formatting"),
        ({"description": "Other."}, "description"),
        ({"variables": [{"name": "question", "description": "asked"}]}, "descriptions of variables"),
    ],
)
def test_an_edit_that_keeps_the_version(capsys: pytest.CaptureFixture[str], changes: dict[str, Any], what: str) -> None:
    text = shown(capsys, {"answer": prompt()}, {"answer": prompt(**changes)}, "answer")
    assert text == f"answer  same version {prompt().digest[:12]}: only {what} edited\n"
