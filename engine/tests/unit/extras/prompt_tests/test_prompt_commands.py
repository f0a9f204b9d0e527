from pathlib import Path

import pytest

from sluice.core.errors import ValidationErrors
from sluice.core.workspace import Workspace
from sluice.extras.prompt_tests.prompt_terminal import prompts_of
from sluice.prompts import load_prompts
from support.git import commit_all, git
from unit.template.conftest import edit
from unit.test_cli import PROMPTS, Run


@pytest.fixture(autouse=True)
def _in_the_checkout(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workspace.root)


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


def test_prompts_are_compared_with_a_commit(sluice: Run, answer: Path) -> None:
    assert sluice("prompts", "diff", "main") == (0, f"same version as in main: {', '.join(PROMPTS)}\n", "")
    edit(answer, "temperature: 0", "temperature: 0.7")
    edit(answer.with_name("finetune.prompt.yml"), "name: finetune", "# a comment\nname: finetune")
    third = answer.with_name("third.prompt.yml")
    third.write_text(answer.read_text().replace("name: answer", "name: third"))
    status, out, _ = sluice("prompts", "diff", "base")
    old, new = out.partition("answer  ")[2].split("\n")[0].split(" -> ")
    assert (status, len(old), len(new), old != new) == (0, 12, 12, True)
    assert "\nthird  none -> " in out
    assert "finetune" in out.partition("same version as in base: ")[2].partition("\n")[0]
    assert "temperature: [-0-]{+0.7+}\n" in out
    answer.unlink()
    assert sluice("prompts", "diff", "base")[1].startswith(f"answer  {old} -> none\n")
    status, _, err = sluice("prompts", "diff", "mian")
    assert (status, "did you mean 'main'?" in err) == (1, True)


def test_a_run_shows_which_prompts_were_edited_where_people_look(
    sluice: Run, answer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    summary = tmp_path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    edit(answer, "Answer the question", "Answer ```` every question")
    sluice("prompts", "diff", "base")
    assert summary.read_text().startswith("### Prompts\n\n`````\nanswer  ")
    assert "{+````+} {+every+}" in summary.read_text() or "[-the-]{+```` every+}" in summary.read_text()


def test_faults_of_another_commit_name_it_and_the_working_tree_does_not_count(
    workspace: Workspace, answer: Path
) -> None:
    before = load_prompts(workspace.prompts)
    edit(answer, "role: user", "role: robot")
    assert prompts_of(workspace.root, "base", "base") == before
    commit_all(workspace.root)
    with pytest.raises(ValidationErrors, match=r"main:prompts/answer\.prompt\.yml:\d+: messages\.1\.role: "):
        prompts_of(workspace.root, "main", "main")
