from __future__ import annotations

from pathlib import Path

import pytest

from sluice.core.errors import ValidationErrors
from sluice.extras.prompt_tests.prompt_terminal import changes_since
from sluice.prompts import load_prompts

from .conftest import ANSWER, git


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
    git(repository, "add", ".")
    git(repository, "commit", "-q", "-m", "second")
    changes, edited = changes_since(repository, "base", load_prompts(folder))
    assert [(c.name, c.status) for c in changes] == [("answer", "changed"), ("other", "same"), ("third", "added")]
    assert edited == {"answer", "other", "third"}
    changes, edited = changes_since(repository, "HEAD", load_prompts(folder))
    assert ({c.status for c in changes}, edited) == ({"same"}, set())


def test_a_commit_without_prompts_has_none(repository: Path) -> None:
    git(repository, "rm", "-q", "-r", "prompts")
    git(repository, "commit", "-q", "-m", "none")
    assert changes_since(repository, "HEAD", {}) == ([], set())


def test_faults_of_another_commit_name_it(repository: Path) -> None:
    (repository / "prompts" / "answer.prompt.yml").write_text(ANSWER.replace("role: user", "role: robot"))
    git(repository, "commit", "-q", "-a", "-m", "broken")
    with pytest.raises(ValidationErrors, match=r"main:prompts/answer\.prompt\.yml:9: messages\.1\.role: "):
        changes_since(repository, "main", {})
