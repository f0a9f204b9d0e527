"""The commands of prompts: what they list, show with values, and compare with a commit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sluice.core.errors import ValidationErrors
from sluice.core.workspace import Workspace
from sluice.extras.prompt_tests.prompt_cases import parse_values
from sluice.extras.prompt_tests.prompt_terminal import changes_since
from sluice.prompts import Prompt, load_prompts
from support.git import commit_all, git
from unit.test_cli import PROMPTS, Run

PROMPT = Prompt.model_validate(
    {
        "name": "typed",
        "description": "for tests",
        "model": "chat",
        "messages": [{"role": "user", "content": "{{text}} {{count}} {{share}} {{flag}}"}],
        "variables": [
            {"name": "text"},
            {"name": "count", "type": "integer"},
            {"name": "share", "type": "number"},
            {"name": "flag", "type": "boolean"},
        ],
    }
)


@pytest.fixture(autouse=True)
def _in_the_checkout(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workspace.root)


def test_a_value_has_the_type_of_its_variable() -> None:
    assert parse_values(PROMPT, ["text="]) == {"text": ""}
    parsed = parse_values(PROMPT, ["text=7", "count=-3", "share=3", "flag=true"])
    assert list(map(repr, parsed.values())) == ["'7'", "-3", "3.0", "True"]


def test_values_of_another_type_are_all_told() -> None:
    with pytest.raises(ValidationErrors) as caught:
        parse_values(PROMPT, ["count=3.5", "share=nan", "flag=yes"])
    assert caught.value.faults == [
        "'count=3.5': '3.5' is no integer",
        "'share=nan': nan is no finite number",
        "'flag=yes': 'yes' is no true or false",
    ]
    assert "count (integer)" in caught.value.remedy


def test_a_prompt_is_shown_with_values(sluice: Run) -> None:
    status, out, _ = sluice("prompts", "show", "answer", "--with", "question=a=b?", "--with", "passages={{question}}")
    assert status == 0
    assert out.endswith("[user]\n{{question}}\n\n{{history}}Question: a=b?\n\n")
    assert "say exactly: {{decline}}" in out
    for words, said in (
        (("anwser",), "no prompt 'anwser' (did you mean 'answer'?)"),
        (("answer", "--with", "question"), "'question': write variable=value"),
        (("answer", "--with", "qestion=x"), "no variable 'qestion' (did you mean 'question'?)"),
    ):
        status, out, err = sluice("prompts", "show", *words)
        assert (status, out) == (1, "")
        assert said in err


def test_prompts_are_listed_with_their_role_and_variables(sluice: Run) -> None:
    status, out, _ = sluice("prompts", "list")
    assert (status, out.splitlines()[0].split()[::2]) == (0, ["answer", "chat", "history?,", "decline"])


@pytest.fixture
def answer(workspace: Workspace) -> Path:
    """A prompt of a repository with one commit on main, tagged `base`."""
    git(workspace.root, "init", "-q", "-b", "main")
    commit_all(workspace.root)
    git(workspace.root, "tag", "base")
    return workspace.prompts / "answer.prompt.yml"


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_prompts_are_compared_with_a_commit(sluice: Run, answer: Path) -> None:
    assert sluice("prompts", "diff", "main") == (0, f"as in main: {', '.join(PROMPTS)}\n", "")
    edit(answer, "temperature: 0", "temperature: 0.7")
    status, out, _ = sluice("prompts", "diff", "main")
    assert (status, "  temperature: 0 -> 0.7\n" in out) == (0, True)
    status, out, _ = sluice("prompts", "diff", "main", "--json")
    change = json.loads(out)["prompts"][0]
    assert (change["name"], change["parameters"]) == ("answer", [{"name": "temperature", "base": 0.0, "head": 0.7}])
    status, _, err = sluice("prompts", "diff", "mian")
    assert (status, "did you mean 'main'?" in err) == (1, True)


def test_a_run_shows_which_prompts_were_edited_where_people_look(
    sluice: Run, answer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    summary = tmp_path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    sluice("prompts", "diff", "base")
    assert not summary.exists()
    edit(answer, "Answer the question", "Answer every question")
    sluice("prompts", "diff", "base")
    assert "[-the-]{+every+}" in summary.read_text()


def test_prompts_of_a_tag_whatever_the_working_tree_holds(workspace: Workspace, answer: Path) -> None:
    before = load_prompts(workspace.prompts)
    answer.write_text("name: [")
    changes, edited = changes_since(workspace.root, "base", before)
    assert {(change.status, change.base) for change in changes} == {("same", one.digest) for one in before.values()}
    assert edited == {"answer"}


def test_what_the_working_tree_changes_and_which_files_were_edited(workspace: Workspace, answer: Path) -> None:
    third = answer.with_name("third.prompt.yml")
    third.write_text(answer.read_text())
    edit(third, "name: answer", "name: third")
    edit(answer, "Answer the question", "Answer every question")
    edit(answer.with_name("finetune.prompt.yml"), "name: finetune", "# a comment\nname: finetune")
    commit_all(workspace.root)
    changes, edited = changes_since(workspace.root, "base", load_prompts(workspace.prompts))
    found = {change.name: change.status for change in changes if change.name in edited}
    assert found == {"answer": "changed", "finetune": "same", "third": "added"}
    changes, edited = changes_since(workspace.root, "HEAD", load_prompts(workspace.prompts))
    assert ({change.status for change in changes}, edited) == ({"same"}, set())


def test_faults_of_another_commit_name_it(workspace: Workspace, answer: Path) -> None:
    edit(answer, "role: user", "role: robot")
    commit_all(workspace.root)
    with pytest.raises(ValidationErrors, match=r"main:prompts/answer\.prompt\.yml:\d+: messages\.1\.role: "):
        changes_since(workspace.root, "main", {})
