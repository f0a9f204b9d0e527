"""The first days of a repository in which nothing is set match the table of the reference page."""

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


@pytest.mark.parametrize("private", [False, True], ids=["public", "private"])
def test_the_night_finds_nothing_missing_and_scores_what_it_may(alone: World, private: bool) -> None:
    alone.scratch.branch("night")
    scored = len(alone.kept("scanned"))
    run = on_the_clock(alone, "nightly.yml", "the night", number=26, private=private, PLAYED_WITHOUT="registry")
    assert alone.github.issues == {}
    assert len(alone.kept("scanned")) == scored + (not private)
    if "admin" in extras():
        assert "nothing to remove: SLUICE_ARTEFACTS names no artifact store" in run.job("prune").log
