"""release.yml and ci.yml, job by job, evaluated as GitHub decides, over every way in which a job can end."""

from collections.abc import Mapping
from typing import Any

import pytest

from policy import Repository
from starter_files import ROOT
from support.github_expressions import evaluate, runs

ENDS = ("failure", "cancelled")  # out of time, or its runner lost: `cancelled`
# What a job gives to those after it when it succeeds: with a cluster, and without one.
CLUSTER = {
    "plan": {"make": "true", "unknown": "", "first": "staging", "last": "production", "image": "true", "sign": "true"},
    "release": {"verdict": "candidate", "release": "r-000000000000", "digest": "sha256:0"},
    "staging": {"cluster": "true", "reason": ""},
    "production": {"cluster": "true", "reason": ""},
}
ALONE = CLUSTER | {
    "plan": CLUSTER["plan"] | {"image": "false", "sign": "false"},
    "staging": {"cluster": "false", "reason": ""},
    "production": {"cluster": "false", "reason": ""},
}
EVENT = {"ref_name": "main", "event": {"action": "synchronize", "repository": {"default_branch": "main"}}}
REACHES_USERS = {"production", "publish"}


def jobs_of(workflow: str) -> dict[str, dict[str, Any]]:
    return next(file for file in Repository.read(ROOT).workflows if file.name == workflow).jobs


def play(
    jobs: Mapping[str, Any],
    outputs: Mapping[str, Mapping[str, str]],
    ends: Mapping[str, str] | None = None,
    *,
    github: Mapping[str, Any] = EVENT,
    cancelled: bool = False,
) -> dict[str, str]:
    """Return the result of each job. A failed job keeps the outputs of its first steps; one whose runner is lost has
    none."""
    results: dict[str, str] = {}
    before: dict[str, set[str]] = {}
    for name, job in jobs.items():  # in an order in which needs come first
        needs = [job["needs"]] if isinstance(job.get("needs"), str) else list(job.get("needs") or ())
        before[name] = set(needs).union(*(before[one] for one in needs))
        given = {
            one: {
                "result": results[one],
                "outputs": outputs.get(one, {}) if results[one] in ("success", "failure") else {},
            }
            for one in needs
        }
        context = {"needs": given, "github": github, "vars": {}}
        begins = runs(job.get("if", ""), context, {one: results[one] for one in before[name]}, cancelled=cancelled)
        results[name] = (ends or {}).get(name, "success") if begins else "skipped"
    return results


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("outputs", [CLUSTER, ALONE], ids=["cluster", "alone"])
@pytest.mark.parametrize("lost", [name for name in jobs_of("release.yml") if name != "stopped"])
def test_a_job_that_does_not_succeed_ends_the_release(lost: str, outputs: dict[str, Any], end: str) -> None:
    jobs = jobs_of("release.yml")
    outputs = outputs | {"plan": outputs["plan"] | ({"unknown": "r-111111111111"} if lost == "reconcile" else {})}
    results = play(jobs, outputs, {lost: end})
    if results[lost] == "skipped":
        return  # it does not run here: nothing was lost
    after = list(jobs)[list(jobs).index(lost) + 1 :]
    assert {name for name in after if results[name] != "skipped"} <= {"stopped", "image"}
    assert {results[name] for name in REACHES_USERS & {*after}} <= {"skipped"}
    assert (results["stopped"] == "success") is (lost != "plan")
    concluded, reported = jobs["stopped"]["steps"][-2:]
    needs = {"needs": {name: {"result": result} for name, result in results.items()}}
    assert runs(concluded["if"], needs, {}) is (lost in ("staging", "rehearse", "production"))
    assert runs(reported["if"], needs, {}) is not runs(concluded["if"], needs, {})


def test_what_the_gates_refuse_is_in_the_record_and_opens_no_issue() -> None:
    outputs = ALONE | {"release": ALONE["release"] | {"verdict": "refused"}}
    assert play(jobs_of("release.yml"), outputs, {"release": "failure"})["stopped"] == "skipped"


def test_a_run_that_somebody_cancels_is_noted() -> None:
    jobs = jobs_of("release.yml")
    needs = {name: {"result": "success", "outputs": CLUSTER.get(name, {})} for name in ("plan", "release", "staging")}
    needs |= {"rehearse": {"result": "skipped", "outputs": {}}, "production": {"result": "cancelled", "outputs": {}}}
    results = {name: str(facts["result"]) for name, facts in needs.items()}
    assert runs(jobs["stopped"]["if"], {"needs": needs}, results, cancelled=True)
    assert not runs(jobs["publish"]["if"], {"needs": needs}, results, cancelled=True)


@pytest.mark.parametrize(("audit", "report"), [("success", "skipped"), ("failure", "success")])
def test_a_night_after_one_that_passed_on_its_commit_looks_for_new_advisories_alone(audit: str, report: str) -> None:
    results = play(jobs_of("nightly.yml"), {"plan": {"parts": "redteam admin", "passed": "true"}}, {"audit": audit})
    assert {name for name, result in results.items() if result != "skipped"} - {"report"} == {"plan", "audit"}
    assert results["report"] == report


def test_another_branch_releases_nothing() -> None:
    results = play(jobs_of("release.yml"), CLUSTER, github=EVENT | {"ref_name": "master"})
    assert set(results.values()) == {"skipped"}


@pytest.mark.parametrize(
    ("production", "unknown", "published"),
    [
        ("success", "", "r-new"),
        ("success", "r-lost", "r-new"),
        *((end, "r-lost", "r-lost") for end in (*ENDS, "skipped")),
    ],
)
def test_what_is_published_is_what_this_run_made_live(production: str, unknown: str, published: str) -> None:
    named = jobs_of("release.yml")["publish"]["steps"][-2]["env"]["RELEASE"]
    needs = {
        "plan": {"outputs": {"unknown": unknown}},
        "release": {"outputs": {"release": "r-new"}},
        "production": {"result": production},
    }
    assert evaluate(named[3:-2], {"needs": needs}) == published


# Pull requests

PLANNED = dict.fromkeys(("check", "test", "test-engine", "eval", "rehearse"), "true")


@pytest.mark.parametrize(
    ("event", "begins"),
    [
        ({"action": "opened"}, True),
        ({"action": "checks_requested"}, True),  # a merge queue
        ({"action": "edited", "changes": {"base": {"ref": {"from": "other"}}}}, True),
        ({"action": "edited", "changes": {"title": {"from": "Other"}}}, False),
        ({"action": "labeled", "label": {"name": "rehearse"}}, True),
        ({"action": "labeled", "label": {"name": "good first issue"}}, False),
    ],
    ids=lambda value: str(value),
)
def test_another_base_is_another_change_and_a_title_is_none(event: dict[str, Any], begins: bool) -> None:
    """A check that is skipped passes, so what checks nothing must not be called `required`."""
    jobs = jobs_of("ci.yml")
    results = play(jobs, {"plan": PLANNED}, github={"event": event})
    assert results["plan"] == ("success" if begins else "skipped")
    assert results["eval"] == results["plan"]
    assert results["required"] == "success"
    assert jobs["required"]["name"].startswith("${{ needs.plan.result == 'skipped' && 'nothing to check' || ")
    assert {step["if"] for step in jobs["required"]["steps"]} == {"needs.plan.result != 'skipped'"}
