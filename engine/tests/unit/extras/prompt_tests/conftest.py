"""A repository in miniature: two prompts in its first commit, tagged `base`."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.git import git

ANSWER = """\
name: answer
description: Answers.
model: chat
modelParameters:
  temperature: 0
messages:
  - role: system
    content: Answer in one sentence.
  - role: user
    content: |-
      {{passages}}

      Question: {{question}}
variables:
  - name: passages
  - name: question
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "repository"
    (root / "prompts").mkdir(parents=True)
    (root / "pyproject.toml").write_text("")
    (root / "prompts" / "answer.prompt.yml").write_text(ANSWER)
    (root / "prompts" / "other.prompt.yml").write_text(ANSWER.replace("name: answer", "name: other"))
    (root / "prompts" / "notes.md").write_text("not a prompt")
    git(root, "init", "-q", "-b", "main")
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "first")
    git(root, "tag", "base")
    return root
