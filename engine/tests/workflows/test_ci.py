"""ci.yml as GitHub would run it, from the plan to the one required check; see engine/docs/reference/workflows.md."""

import json
import re

import pytest

from workflows.act import Run
from workflows.hostile import NAME, all_kinds, one_line
from workflows.scratch import PROMPT
from workflows.world import World

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(3600)]


@pytest.fixture(scope="module")
def documentation(place: World) -> Run:
    place.scratch.branch("documentation")
    place.scratch.write("docs/a-page.md", "# A page\n")
    place.scratch.commit("A page")
    return place.ci()


@pytest.fixture(scope="module")
def better(place: World, documentation: Run) -> Run:  # noqa: ARG001 - it is the first run of this place
    place.scratch.branch("prompt")
    place.scratch.edit(PROMPT, "the one or two", "one or two")
    place.scratch.write("engine/k8s/base/NOTES.md", "A note.\n")
    place.scratch.commit("A prompt and a manifest")
    return place.ci(number=501)


@pytest.fixture(scope="module")
def worse(place: World, better: Run) -> Run:  # noqa: ARG001 - the pull request that is pushed to again
    place.scratch.edit_prompt("worse", "It is worse", "the SPOILED two")
    return place.ci(number=502)


def test_a_change_of_documentation_needs_no_model(place: World, documentation: Run) -> None:
    assert documentation.status == 0
    assert documentation.results == {"ci/plan": "success", "ci/check": "success", "ci/required": "success"}
    planned = {name.removeprefix("plan."): value for name, value in documentation.job("plan").outputs.items()}
    assert [job for job, value in planned.items() if value == "true"] == ["check"]
    assert set(place.made()) == {"engine", "setup TRAINING=no", "check", "test-contract"}
    assert {method for method, _ in place.github.asked} == {"GET"}, "there is no comment that could be outdated"
    assert "not needed" in documentation.job("required").summary


def test_what_a_pull_request_says_changes_nothing(place: World, documentation: Run) -> None:
    written = all_kinds(place.runner.place)
    line = one_line(written)
    place.scratch.branch("hostile")
    place.scratch.write(f"docs/{written.replace('/', '_')[:120]}.md", f"# {written}\n")
    place.scratch.commit(written, author=line)
    run = place.ci(title=line, body=written, branch=written, actor=line)
    assert (run.status, run.results, run.outputs) == (0, documentation.results, documentation.outputs)
    assert place.traces(NAME) == []


def test_a_change_of_a_prompt_is_compared_rehearsed_and_commented_on(place: World, better: Run) -> None:
    assert better.status == 0
    assert better.results == dict.fromkeys(
        (
            "ci/plan",
            "ci/check",
            "ci/test",
            *(f"test-engine/template-tests/{job}" for job in ("engine", "workflows", "drills", "parts")),
            "ci/eval",
            "ci/rehearse",
            "ci/required",
        ),
        "success",
    )
    (comment,) = place.github.comments.values()
    marker, title, _, hidden, _, line, *_ = comment["body"].splitlines()
    assert json.loads(hidden.removeprefix("<!-- sluice:verdict ").removesuffix(" -->"))["passed"] is True
    assert (marker, title) == ("<!-- sluice:comparison run=501.1 -->", "## = No difference seen")
    report = re.match(r"\[Open the report\]\(https://[\w.:]+/octo/app/actions/runs/501/artifacts/\d+\)", line)
    assert report
    assert line.endswith(f" · for {place.scratch.head}")
    assert report[0] in better.job("eval").summary
    assert (place.artifact("report.html", run=501) / "report.html").is_file()


def test_a_worse_prompt_fails_its_job_and_with_it_the_required_one(worse: Run) -> None:
    assert worse.status == 1
    assert {name for name, result in worse.results.items() if result == "failure"} == {"ci/eval", "ci/required"}
    assert "ci/rehearse" not in worse.results
    assert "| `eval` | `failure` | `it has to succeed` |" in worse.job("required").summary
    assert "| `rehearse` | `skipped` |" in worse.job("required").summary


def test_the_comment_is_updated_and_there_is_one(place: World, better: Run, worse: Run) -> None:  # noqa: ARG001
    (comment,) = place.github.comments.values()
    marker, title = comment["body"].splitlines()[:2]
    assert marker == "<!-- sluice:comparison run=502.1 -->"
    assert title.startswith("## ✕ Worse: ")
    assert "answer&#95;key" in title.removeprefix("## ✕ Worse: ").split(", ")
    assert "Outdated" not in comment["body"]
    methods = [method for method, path in place.github.asked if method != "GET"]
    assert methods == ["POST", "PATCH", "PATCH"], "written, then outdated, then written anew"


def test_a_push_that_takes_the_change_back_leaves_no_verdict(place: World, worse: Run) -> None:  # noqa: ARG001
    place.scratch.branch("taken-back")
    place.scratch.write("docs/another-page.md", "# Another page\n")
    place.scratch.commit("A page alone")
    run = place.ci(number=503)
    assert (run.status, "ci/eval" in run.results) == (0, False)
    (comment,) = place.github.comments.values()
    marker, notice, *_ = comment["body"].splitlines()
    assert marker == "<!-- sluice:comparison run=503.1 -->"
    assert notice.startswith("> **Outdated.** ")
    assert f"compares nothing: at {place.scratch.head} " in notice
    assert "## ✕ Worse: " in comment["body"]


@pytest.mark.usefixtures("documentation", "better")
def test_every_step_has_run(place: World) -> None:
    # The clock starts those two, and a hand: test_dispatched.py.
    assert {step for step in place.missed("ci.yml") if step.job not in ("cluster", "macos")} == set()
