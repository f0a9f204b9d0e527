"""Policy of .github/: pinned actions that the ledger knows, least rights, thin steps, time limits."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

LONGEST_RUN = 5
GITHUB = Path(__file__).resolve().parents[2] / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
ACTIONS = sorted((GITHUB / "actions").glob("*/action.yml"))

each_workflow = pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)


def load(path: Path) -> dict[Any, Any]:
    loaded: dict[Any, Any] = yaml.safe_load(path.read_text())
    return loaded


def steps() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in WORKFLOWS:
        for name, job in load(path)["jobs"].items():
            for step in job.get("steps", []):
                yield f"{path.name} {name}", step
    for path in ACTIONS:
        for step in load(path)["runs"]["steps"]:
            yield path.parent.name, step


def ledger(root: Path) -> set[tuple[str, str, str]]:
    """(action, commit, version) of every row."""
    page = (root / "docs" / "reference" / "actions.md").read_text()
    return set(re.findall(r"^\| ([\w./-]+) \| ([0-9a-f]{40}) \| (v[\d.]+) \|", page, re.MULTILINE))


def test_every_action_is_pinned_to_a_commit_of_the_ledger(root: Path) -> None:
    used = set()
    for path in (*WORKFLOWS, *ACTIONS):
        for line in path.read_text().splitlines():
            if (found := re.search(r"\buses:\s*(\S+)", line)) and not found[1].startswith("./"):
                pinned = re.search(r"uses: ([\w./-]+)@([0-9a-f]{40})\s+# (v[\d.]+)$", line)
                assert pinned, f"{path.name}: not `uses: action@<commit>   # <version>`: {line.strip()}"
                used.add(pinned.groups())
    assert used == ledger(root)


def test_steps_are_thin() -> None:
    fat = [where for where, step in steps() if len(step.get("run", "").strip().splitlines()) > LONGEST_RUN]
    assert not fat


def test_no_expression_is_pasted_into_a_script() -> None:
    assert not [where for where, step in steps() if "${{" in step.get("run", "")]


def test_checkouts_leave_no_credentials_behind() -> None:
    careless = [
        where
        for where, step in steps()
        if step.get("uses", "").startswith("actions/checkout@")
        and step.get("with", {}).get("persist-credentials") is not False
    ]
    assert not careless


@each_workflow
def test_a_workflow_grants_nothing_by_default_and_ends_in_time(workflow: Path) -> None:
    content = load(workflow)
    assert content["permissions"] == {}
    assert ("concurrency" in content) is (list(content[True]) != ["workflow_call"]), (
        "its caller has the one that counts"
    )
    for name, job in content["jobs"].items():
        assert "permissions" in job, f"{name}: grants are given job by job"
        assert "uses" in job or job.get("timeout-minutes"), f"{name}: no time limit"


@each_workflow
def test_a_fork_reaches_no_secret(workflow: Path) -> None:
    triggers = load(workflow)[True]  # YAML 1.1 reads the key `on` as true
    names = {triggers} if isinstance(triggers, str) else set(triggers)
    assert not names & {"pull_request_target", "workflow_run"}


def test_one_job_stands_for_all_others_of_ci() -> None:
    jobs = load(GITHUB / "workflows" / "ci.yml")["jobs"]
    assert set(jobs["required"]["needs"]) == set(jobs) - {"required"}
    assert jobs["required"]["if"] == "always()"
