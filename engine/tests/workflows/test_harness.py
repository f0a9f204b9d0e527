"""The harness itself: what it reads out of act's words, what it counts, and that no workflow is left out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from workflows.act import Run, read, stubs
from workflows.coverage import RUN, Step, began, declared
from workflows.inlined import write_inlined
from workflows.scratch import ROOT

CALLER = """\
name: caller
on: push
jobs:
  plan:
    runs-on: ubuntu-24.04
    steps:
      - uses: ./.github/actions/setup
      - id: plan
        run: echo plan
  work:
    needs: plan
    if: needs.plan.result == 'success'
    uses: ./.github/workflows/called.yml
    with:
      place: staging
      base: ${{ github.sha }}
"""
CALLED = """\
name: called
on:
  workflow_call:
    inputs:
      place: {type: string}
      base: {type: string}
    outputs:
      why:
        value: ${{ jobs.inner.outputs.reason }}
jobs:
  inner:
    runs-on: ubuntu-24.04
    outputs:
      reason: ${{ steps.one.outputs.reason }}
    steps:
      - id: one
        if: inputs.place != ''
        run: echo "$BASE"
        env:
          BASE: ${{ inputs.base }}
"""
SETUP = """\
name: setup
runs:
  using: composite
  steps:
    - uses: actions/cache@0123456789012345678901234567890123456789
    - shell: bash
      run: make setup
"""
PLAN, WORK, INSTALL = Step("caller.yml", "plan", "plan"), Step("called.yml", "inner", "one"), Step("setup", "", "1")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    for name, text in (
        ("workflows/caller.yml", CALLER),
        ("workflows/called.yml", CALLED),
        ("actions/setup/action.yml", SETUP),
    ):
        path = tmp_path / ".github" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def said(job: str, job_id: str, /, *key: str, message: str = "⭐ Run Main it", **more: str) -> str:
    event = {"job": job, "jobID": job_id, "msg": message, "stage": "Main", "stepID": list(key)}
    return json.dumps({**event, **more})


def test_every_workflow_with_a_step_to_run_is_run() -> None:
    """Each test file asserts that none of its workflows' steps was left out; so all together run every one."""
    everything = {path.name for path in (ROOT / ".github" / "workflows").glob("*.yml")}
    steps = {name: declared(ROOT, name) for name in everything}
    run = set().union(*(steps[name] for name in RUN))
    assert {name for name in everything if steps[name] - run} == set()


def test_steps_are_those_of_called_workflows_and_of_composite_actions_too(repository: Path) -> None:
    assert declared(repository, "caller.yml") == {PLAN, WORK, INSTALL}


def test_a_step_counts_when_it_began_and_no_other_does(repository: Path) -> None:
    run = read(
        [
            "act says something that is no JSON",
            said("caller/plan", "plan", "0"),
            said("caller/plan", "plan", "0", "1"),
            said("caller/plan", "plan", "0", "1", message="  ✅  Success", stepResult="success"),
            said("caller/plan", "plan", "plan", message="Skipping step", stepResult="skipped"),
            said("caller/plan", "plan", message="🏁  Job failed", jobResult="failure"),
        ],
        1,
    )
    assert began(repository, [run]) == {INSTALL}
    assert run.job("plan").ran == {"0": None, "0/1": "success"}
    assert run.results == {"caller/plan": "failure"}
    called = read([said("work/called/inner  ", "inner", "one")], 0)
    assert began(repository, [run, called]) == {INSTALL, WORK}


def test_outputs_and_summaries_are_read() -> None:
    run = read(
        [
            said("w/a", "a", "s", command="set-output", name="k", arg="v"),
            said("w/a", "a", "s", command="summary", content="# Title\n"),
            said("w/a", "a", "s", message="words\n", raw_output="true"),
        ],
        0,
    )
    assert (run.outputs, run.summary, run.job("a").log) == ({"w/a": {"s.k": "v"}}, "# Title\n", "words\n")


def test_a_called_workflow_can_be_written_into_its_caller(repository: Path) -> None:
    write_inlined(repository, "caller.yml")
    content = yaml.safe_load((repository / ".github" / "workflows" / "caller.yml").read_text())
    assert content["on"] == "push"
    job = content["jobs"]["work"]
    assert (job["needs"], job["if"]) == ("plan", "needs.plan.result == 'success'")
    assert job["outputs"] == {"why": "${{ steps.one.outputs.reason }}"}
    (step,) = job["steps"]
    assert (step["if"], step["env"]["BASE"]) == ("'staging' != ''", "${{ (github.sha) }}")


def test_an_inlined_step_counts_for_the_one_that_it_was_made_from(repository: Path) -> None:
    run = read([said("caller/work", "work", "one")], 0)
    assert began(repository, [run]) == {WORK}


def test_an_action_that_nothing_plays_is_named(repository: Path) -> None:
    assert list(stubs(repository, "caller.yml")) == ["actions/cache@0123456789012345678901234567890123456789"]
    path = repository / ".github" / "workflows" / "called.yml"
    path.write_text(path.read_text() + "      - uses: owner/unknown@0123456789012345678901234567890123456789\n")
    with pytest.raises(AssertionError, match=r"called\.yml uses owner/unknown, which nothing in .*actions plays"):
        stubs(repository, "caller.yml")


def test_a_job_that_is_not_there_is_an_error() -> None:
    with pytest.raises(AssertionError, match="missing: "):
        Run(0, {}, "").job("missing")
