"""The first days of a repository in which nothing is set match the table of the reference page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sluice.core.extras import extras
from support.day_one import CLOCK
from unit.github.fake_github import READER
from workflows.act import Run
from workflows.evaluated import compare, situation_of
from workflows.scratch import Scratch, pull_request, repository
from workflows.world import World, world

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(3600)]


@pytest.fixture(scope="module")
def alone(scratch: Scratch, folder: Path) -> Iterator[World]:
    with world(scratch, folder / "alone", whole=False) as made:
        made.variables.clear()
        yield made


def on_the_clock(of: World, workflow: str, name: str, *, number: int, private: bool = False, **environment: str) -> Run:
    clock = situation_of(workflow, name)[1].clock
    payload = {"schedule": clock, "repository": repository(private=private) | {"is_template": False}}
    run = of._run(workflow, CLOCK, payload, number=number, **environment)
    compare(run, workflow, name, private=private)
    return run


def test_a_release_that_nothing_can_keep_is_skipped_with_one_line(alone: World) -> None:
    run = alone.release(number=20, PLAYED_WITHOUT="registry")
    assert (run.status, run.results) == (0, {"release/plan": "success"})
    assert "SLUICE_ARTEFACTS names no artifact store, and the extra registry" in run.summary


def test_the_first_pull_request_changes_a_prompt(alone: World) -> None:
    alone.scratch.edit_prompt("prompt", "A prompt")
    compare(alone.ci(number=21), "ci.yml", "first pull request of a prompt")
    assert len(alone.github.comments) == 1


def test_a_merge_queue_asks_the_same_and_comments_nowhere(alone: World) -> None:
    queued = {"head_sha": alone.scratch.edit_prompt("queued", "A prompt"), "base_sha": alone.scratch.base}
    payload = {"action": "checks_requested", "merge_group": queued, "repository": repository()}
    before = dict(alone.github.comments)
    run = alone._run("ci.yml", "merge_group", payload, number=19)
    compare(run, "ci.yml", "merge queue")
    assert alone.github.comments == before
    assert "## = No difference seen" in run.job("eval").summary


def test_the_pull_request_that_names_the_project_is_green(alone: World) -> None:
    scratch = alone.scratch
    scratch.branch("named")
    scratch.init("--name", "zephyr-desk", "--organisation", "acme-labs", "--region", "ap-south-2")
    scratch.commit("Name the project")
    run = alone.ci(number=18)
    jobs = {"plan", "check", "test", "eval", "rehearse", "required"}
    assert run.results == dict.fromkeys((f"ci/{job}" for job in jobs), "success")
    assert "## = No difference seen" in run.job("eval").summary
    changed = scratch.git("diff", "--name-only", scratch.base).splitlines()
    assert "config/project.yaml" in changed
    # DVC is played here, so: what the stages of either side call is what either side installs.
    assert [path for path in changed if path.startswith(("pipelines/", "pyproject.toml", "src/"))] == []


def test_a_fork_s_token_only_reads_and_its_pull_request_is_green(alone: World) -> None:
    alone.scratch.edit_prompt("fork", "A prompt from elsewhere")
    payload: dict[str, Any] = pull_request(alone.scratch, branch="theirs", private=True)
    elsewhere = repository(private=True) | {"full_name": "somebody/app", "fork": True}
    payload["pull_request"]["head"]["repo"] = elsewhere
    before = dict(alone.github.comments)
    run = alone._run("ci.yml", "pull_request", payload, number=23, token=READER)
    compare(run, "ci.yml", "pull request of a fork", private=True)
    assert alone.github.comments == before
    assert "## = No difference seen" in run.job("eval").summary


if "engine_tests" in extras():

    def test_dependabot_moves_an_action(alone: World) -> None:
        alone.scratch.branch("dependabot")
        path = ".github/workflows/ci.yml"
        alone.scratch.edit(path, "# v7.0.1", "# v7.0.2")
        alone.scratch.commit("Bump actions/checkout", author="dependabot[bot]")
        payload = pull_request(alone.scratch, branch="dependabot/actions")
        run = alone._run("ci.yml", "pull_request", payload, number=24, actor="dependabot[bot]")
        compare(run, "ci.yml", "pull request of Dependabot")

    def test_on_saturday_the_template_s_own_tests_are_not_a_copy_s(alone: World) -> None:
        run = alone._run("template-tests.yml", CLOCK, {"repository": repository()}, number=25)
        assert (run.status, run.jobs) == (0, {})


@pytest.mark.parametrize("private", [False, True], ids=["public", "private"])
def test_the_night_finds_nothing_missing_and_scores_what_it_may(alone: World, private: bool) -> None:
    alone.scratch.branch("night")
    scored = len(alone.kept("scanned"))
    run = on_the_clock(alone, "nightly.yml", "the night", number=26, private=private, PLAYED_WITHOUT="registry")
    assert alone.github.issues == {}
    assert len(alone.kept("scanned")) == scored + (not private)
    if "admin" in extras():
        assert "nothing to remove: SLUICE_ARTEFACTS names no artifact store" in run.job("prune").log


if "upgrade" in extras():

    def test_on_monday_nothing_says_where_the_template_is(alone: World) -> None:
        run = on_the_clock(alone, "upgrade-template.yml", "Monday", number=27)
        assert "Nothing to take: the template's address is unknown" in run.summary


if "hosted" in extras():
    from support.actions_api import TOKEN, actions_api

    @pytest.mark.parametrize("conclusion", ["success", "failure"])
    def test_the_end_of_a_pull_request_s_run_asks_for_nothing(alone: World, conclusion: str) -> None:
        place, clock = repository() | {"id": 1}, "2026-01-01T10:00:00Z"
        ended = {"id": 500, "name": "ci", "event": "pull_request", "conclusion": conclusion, "head_repository": place}
        with actions_api() as api:
            api.add_run(500, conclusion=conclusion, created_at=clock)
            payload = {"action": "completed", "workflow_run": ended, "repository": place}
            address = {"GITHUB_API_URL": api.url}
            run = alone._run("answer-requests.yml", "workflow_run", payload, number=28, token=TOKEN, **address)
        colour = "green" if conclusion == "success" else "red"
        compare(run, "answer-requests.yml", f"the end of a {colour} `ci`")
        assert api.again == []
