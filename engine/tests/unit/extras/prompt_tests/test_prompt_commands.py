# ruff: noqa: F811 - a fixture that is imported is named by the tests
"""What `sluice prompts list` and `sluice prompts diff` print of the prompts that ship."""

from __future__ import annotations

import json

from sluice.core.workspace import Workspace
from unit.test_cli import PROMPTS, Run, _alone, run  # noqa: F401 - fixtures

from .conftest import git


def test_prompts_are_listed_with_their_role_and_variables(run: Run) -> None:
    status, out, _ = run("prompts", "list")
    assert (status, out.splitlines()[0].split()[::2]) == (0, ["answer", "chat", "history?,", "decline"])


def test_prompts_are_compared_with_a_commit(run: Run, workspace: Workspace) -> None:
    for words in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "first"]):
        git(workspace.root, *words)
    assert run("prompts", "diff", "main") == (0, f"as in main: {', '.join(PROMPTS)}\n", "")
    path = workspace.prompts / "answer.prompt.yml"
    path.write_text(path.read_text().replace("temperature: 0", "temperature: 0.7"))
    status, out, _ = run("prompts", "diff", "main")
    assert (status, "  temperature: 0 -> 0.7\n" in out) == (0, True)
    status, out, _ = run("prompts", "diff", "main", "--json")
    change = json.loads(out)["prompts"][0]
    assert (change["name"], change["parameters"]) == ("answer", [{"name": "temperature", "base": 0.0, "head": 0.7}])
    status, _, err = run("prompts", "diff", "mian")
    assert (status, "did you mean 'main'?" in err) == (1, True)
