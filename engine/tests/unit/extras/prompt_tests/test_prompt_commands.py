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

from .conftest import ANSWER

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


def test_prompts_are_compared_with_a_commit(sluice: Run, workspace: Workspace) -> None:
    git(workspace.root, "init", "-q", "-b", "main")
    commit_all(workspace.root)
    assert sluice("prompts", "diff", "main") == (0, f"as in main: {', '.join(PROMPTS)}\n", "")
    path = workspace.prompts / "answer.prompt.yml"
    path.write_text(path.read_text().replace("temperature: 0", "temperature: 0.7"))
    status, out, _ = sluice("prompts", "diff", "main")
    assert (status, "  temperature: 0 -> 0.7\n" in out) == (0, True)
    status, out, _ = sluice("prompts", "diff", "main", "--json")
    change = json.loads(out)["prompts"][0]
    assert (change["name"], change["parameters"]) == ("answer", [{"name": "temperature", "base": 0.0, "head": 0.7}])
    status, _, err = sluice("prompts", "diff", "mian")
    assert (status, "did you mean 'main'?" in err) == (1, True)


def test_prompts_of_a_tag_whatever_the_working_tree_holds(repository: Path) -> None:
    now = repository / "prompts" / "answer.prompt.yml"
    before = load_prompts(repository / "prompts")
    now.write_text("name: [")
    changes, edited = changes_since(repository, "base", before)
    assert {(change.status, change.base) for change in changes} == {("same", one.digest) for one in before.values()}
    assert edited == {"answer"}


def test_what_the_working_tree_changes_and_which_files_were_edited(repository: Path) -> None:
    folder = repository / "prompts"
    (folder / "answer.prompt.yml").write_text(ANSWER.replace("one sentence", "two sentences"))
    (folder / "other.prompt.yml").write_text("# a comment\n" + ANSWER.replace("name: answer", "name: other"))
    (folder / "third.prompt.yml").write_text(ANSWER.replace("name: answer", "name: third"))
    commit_all(repository)
    changes, edited = changes_since(repository, "base", load_prompts(folder))
    assert [(c.name, c.status) for c in changes] == [("answer", "changed"), ("other", "same"), ("third", "added")]
    assert edited == {"answer", "other", "third"}
    changes, edited = changes_since(repository, "HEAD", load_prompts(folder))
    assert ({c.status for c in changes}, edited) == ({"same"}, set())


def test_faults_of_another_commit_name_it(repository: Path) -> None:
    (repository / "prompts" / "answer.prompt.yml").write_text(ANSWER.replace("role: user", "role: robot"))
    commit_all(repository)
    with pytest.raises(ValidationErrors, match=r"main:prompts/answer\.prompt\.yml:9: messages\.1\.role: "):
        changes_since(repository, "main", {})
