"""The workflows hold to the policy (engine/tests/policy/), to the plan of `sluice ci plan`, and to the Makefile."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from policy import Repository, faults
from policy.pins import ledger, used
from policy.reach import reached
from sluice.core.extras import FOLDER
from sluice.github.job_plan import ENGINE, JOBS, jobs_for
from sluice.jobs import compare_change as review

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def github(root: Path) -> Repository:
    return Repository.read(root)


def test_everything_holds_to_the_policy(github: Repository) -> None:
    assert faults(github) == []


def test_the_ledger_has_what_is_used_and_nothing_else(github: Repository) -> None:
    assert used(github) == ledger(github)


def test_every_row_of_the_ledger_says_where_the_commit_was_seen_and_what_for(root: Path) -> None:
    rows = re.findall(
        r"^\| [\w./-]+ \| [0-9a-f]{40} \|.*$", (root / "engine/docs/reference/actions.md").read_text(), re.MULTILINE
    )
    assert rows
    assert not [
        row for row in rows if len(row.split("|")) != 7 or not all(cell.strip() for cell in row.split("|")[1:-1])
    ]


def test_the_walk_comes_to_every_job_of_a_pull_request(github: Repository) -> None:
    """Otherwise it would find nothing because it looks nowhere."""
    workflows = {f".github/workflows/{name}.yml" for name in ("ci", *JOBS)}
    assert reached(github) == workflows | {".github/actions/setup/action.yml"}


def test_ci_runs_what_the_plan_asks_for_and_nothing_else(github: Repository) -> None:
    ci = next(file for file in github.workflows if file.name == "ci.yml")
    assert list(ci.jobs) == ["plan", *JOBS, "required"]
    assert ci.jobs["plan"]["outputs"] == {job: f"${{{{ steps.plan.outputs.{job} }}}}" for job in JOBS}
    for job in JOBS:
        asked = f"needs.plan.outputs.{job} == 'true'"
        assert ci.jobs[job]["if"] in (asked, f"${{{{ !failure() && !cancelled() && {asked} }}}}")
        assert "plan" in ci.jobs[job]["needs"]
        assert ci.jobs[job]["uses"] == f"./.github/workflows/{job}.yml"


@pytest.mark.parametrize("path", review._INPUTS)
def test_what_answers_depend_on_is_compared(path: str) -> None:
    assert {"eval-change", "test-python"} <= jobs_for(path if "." in path else f"{path}/x")


def test_a_page_of_the_engine_asks_for_the_tests_that_read_it(tracked: list[str]) -> None:
    pages = [name for name in tracked if name.startswith("engine/docs/")]
    assert pages
    assert not [page for page in pages if ENGINE not in jobs_for(page)]


def test_a_page_of_a_project_asks_for_the_tests_that_follow_it(texts: dict[str, str]) -> None:
    """Those in engine/tests/contract/ run for every change."""
    readers = [
        text for name, text in texts.items() if name.startswith(("engine/tests/unit/docs/", "engine/tests/unit/llm/"))
    ]
    read = {page for text in readers for page in re.findall(r'"(?:docs/)?([a-z-]+\.md)"', text)}
    assert not [page for page in read if (ROOT / "docs" / page).exists() and ENGINE not in jobs_for(f"docs/{page}")]


def test_the_page_says_what_the_plan_does(root: Path) -> None:
    page = (root / "engine" / "docs" / "reference" / "workflows.md").read_text()
    head = f"| change | {' | '.join(JOBS)} |\n"
    assert head in page
    rows = page.partition(head)[2].partition("\n\n")[0].splitlines()[1:]
    told = 0
    for line in rows:
        change, *cells = [cell.strip() for cell in line.strip("|").split("|")]
        for path in re.findall(r"`([^`]+)`", change):
            asked = {job for job, cell in zip(JOBS, cells, strict=True) if cell == "yes"}
            assert asked == jobs_for(f"{path}x" if path.endswith("/") else path) | {"check-code"}, path
            told += 1
    assert told >= 15


def called_targets() -> list[str]:
    """What steps make."""
    runs = [step.get("run", "").split() for *_, step, _ in Repository.read(ROOT).steps()]
    return sorted({words[1] for words in runs if words[:1] == ["make"]})


@pytest.mark.parametrize("target", called_targets())
def test_make_has_the_targets_that_steps_call(target: str) -> None:
    files = [ROOT / "Makefile", *ROOT.glob(f"{FOLDER}/*/extra.mk")]
    assert any(re.search(rf"^{target}:", file.read_text(), re.MULTILINE) for file in files)
