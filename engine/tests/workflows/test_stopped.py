"""What release.yml does when there is nothing to release, when a gate refuses, and when a canary is stopped."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.kubernetes.player import Player
from workflows.act import Run
from workflows.scratch import PROMPT, Scratch, repository
from workflows.world import World, world

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(3600)]

# Jobs of a release without a cluster, as far as its rehearsal.
ALONE = ("release/plan", "release/release", "release/sign", "staging/deploy-release/deploy", "release/rehearse")


@pytest.fixture(scope="module")
def first(bare: World) -> str:
    run = bare.release(number=700)
    assert run.status == 0
    assert set(run.results) == {*ALONE, "production/deploy-release/deploy", "release/publish"}
    assert "The record alone is moved" in run.summary
    assert "No image is built - the variable SLUICE_IMAGE_BASE" in run.summary
    return run.job("release").outputs["stage.release"]


@pytest.fixture(scope="module")
def refused(bare: World, first: str) -> Run:  # noqa: ARG001 - what it is compared with
    bare.scratch.edit_prompt("refused", "It is worse", "the SPOILED two")
    return bare.release(number=702)


@pytest.fixture(scope="module")
def stopped(bare: World, refused: Run) -> list[Run]:  # noqa: ARG001 - the record has it already
    bare.scratch.edit_prompt("stopped", "It is slow")
    return [bare.release(number=703, attempt=attempt, PLAYED_CANARY="stopped") for attempt in (1, 2)]


def test_a_push_of_documentation_releases_nothing(bare: World, first: str) -> None:
    before = bare.state()
    bare.scratch.branch("page")
    bare.scratch.write("docs/a-page.md", "# A page\n")
    bare.scratch.commit("A page")
    run = bare.release(number=701)
    assert (run.status, run.results) == (0, {"release/plan": "success"})
    assert run.job("plan").outputs["plan.make"] == "false"
    assert "### Nothing to release" in run.summary
    assert bare.state() == before
    assert bare.record()[-1] == ("promoted", first)


def test_a_refusal_of_the_gates_fails_the_job_and_the_champion_stays(bare: World, first: str, refused: Run) -> None:
    assert refused.status == 1
    assert refused.results == {"release/plan": "success", "release/release": "failure"}
    candidate = refused.job("release").outputs["stage.release"]
    assert refused.job("release").outputs["stage.verdict"] == "refused"
    assert ("rejected", candidate) in bare.record()
    assert bare.state()["aliases"]["champion"] == first
    assert (bare.artifact("release", run=702) / "report.html").is_file()
    assert "comparison_answer_key" in refused.job("release").summary


def test_a_stopped_canary_fails_the_job_and_the_champion_stays(bare: World, first: str, stopped: list[Run]) -> None:
    run = stopped[0]
    assert run.status == 1
    assert run.results == {
        **dict.fromkeys(ALONE, "success"),
        "release/rehearse": "failure",
        "release/stopped": "success",
    }
    assert bare.state()["aliases"]["champion"] == first
    assert [tag for tag, *_ in bare.state()["releases"]] == [first]
    assert bare.record()[-1] == ("rejected", run.job("release").outputs["stage.release"])


def test_it_opens_one_issue_which_a_second_stop_updates(bare: World, first: str, stopped: list[Run]) -> None:
    candidate = stopped[0].job("release").outputs["stage.release"]
    assert stopped[1].results == stopped[0].results
    (issue,) = bare.github.issues.values()
    assert issue["title"] == f"Release {candidate} was stopped"
    assert issue["state"] == "open"
    for words in ("error_rate is 0.4", f"`{first}` is live", "/actions/runs/703", f"/commit/{bare.scratch.head}"):
        assert words in issue["body"]
    asked = [(method, path) for method, path in bare.github.asked if "issues" in path and method != "GET"]
    assert [method for method, _ in asked] == ["POST", "PATCH"]


def test_a_canary_that_the_cluster_stops_opens_an_issue_with_its_reason(place: World) -> None:
    """act ends a run where a called workflow fails, so here the deployments are jobs of release.yml."""
    place.scratch.branch("cluster")
    place.inline("release.yml")
    place.scratch.commit("It is stopped in production")
    place.clusters["production"].nodes.verdicts = {"load": "Failed"}
    run = place.release(number=704)
    assert run.status == 1
    assert {job for job, result in run.results.items() if result == "failure"} == {"release/production"}
    assert run.job("stopped").result == "success"
    assert "release/publish" not in run.results
    assert place.record() == [("rejected", run.job("release").outputs["stage.release"])]
    (issue,) = place.github.issues.values()
    assert "production:" in issue["body"]
    assert "Nothing was live" in issue["body"]


@pytest.fixture
def patient(scratch: Scratch, folder: Path) -> Iterator[World]:
    with world(scratch, folder / "patient") as made:
        yield made


def test_a_canary_that_outlasts_its_watch_is_taken_up_by_the_clock(patient: World) -> None:
    """It waits for a person, who comes after the run has ended; a later run finds it live, and publishes it."""
    scratch, plane = patient.scratch, patient.clusters["production"]
    scratch.branch("waits")
    # Production alone: staging is watched to its end.
    watched = ("vars.CANARY_WATCH || '2h'", "inputs.environment == 'production' && vars.CANARY_WATCH || '2h'")
    scratch.edit(".github/workflows/deploy-release.yml", *watched)
    patient.inline("release.yml")
    scratch.edit(PROMPT, "the one or two", "one or two")
    scratch.commit("The first that is live")
    assert patient.release(number=710).status == 0
    plane.holds = True
    scratch.edit(PROMPT, "one or two", "one, or two")
    scratch.commit("The second")
    patient.variables["CANARY_WATCH"] = "3s"
    run = patient.release(number=711)
    del patient.variables["CANARY_WATCH"]
    second = run.job("release").outputs["stage.release"]
    assert (run.job("production").result, run.job("stopped").result) == ("failure", "success")
    assert "not finished after 3 s" in run.job("production").log
    assert patient.record()[-1] == ("unknown", second)
    assert f"Release {second} ended unknown" in [one["title"] for one in patient.github.issues.values()]
    promote_by_hand(plane)
    settled = patient._run(
        "release.yml", "schedule", {"schedule": "37 1 * * *", "repository": repository()}, number=712
    )
    assert settled.results == dict.fromkeys(("release/plan", "release/reconcile", "release/publish"), "success")
    assert patient.record()[-2:] == [("promoting", second), ("promoted", second)]
    assert second in [tag for tag, *_ in patient.state()["releases"]]


def promote_by_hand(plane: Player) -> None:
    """What `kubectl argo rollouts promote` does (Argo Rollouts 1.9, promote.go, clearPauseConditionsPatch)."""
    plane.settle()
    found = plane.api.objects[plane.api.path("Rollout", "sluice")]
    assert found["status"]["pauseConditions"]
    status = {key: value for key, value in found["status"].items() if key != "pauseConditions"}
    plane.api.write({**found, "status": status}, "kubectl-argo-rollouts")
    plane.holds = False
    plane.settle()
    assert plane.api.objects[plane.api.path("Rollout", "sluice")]["status"]["phase"] == "Healthy"


def test_what_is_lost_before_production_is_rejected_and_made_again(bare: World, first: str, stopped: list[Run]) -> None:
    bare.scratch.edit_prompt("lost", "Its machine is lost", "one, or two")
    lost = bare.release(number=705, PLAYED_CANARY="lost")
    assert lost.job("stopped").result == "success"
    candidate = lost.job("release").outputs["stage.release"]
    assert bare.record()[-1] == ("rejected", candidate)
    assert f"Release {candidate} was stopped" in [one["title"] for one in bare.github.issues.values()]
    run = bare.release(number=706)
    assert run.status == 0
    assert bare.record()[-3:] == [("rejected", candidate), ("promoting", candidate), ("promoted", candidate)]
    assert stopped[0].status == 1
    assert first != candidate


def test_a_release_that_cannot_be_published_opens_an_issue_which_the_next_run_closes(bare: World) -> None:
    bare.scratch.edit_prompt("unpublished", "GitHub is down", "one, two")
    bare.github.script = [("POST", 403, {}), ("POST", 403, {})]  # a tag, and what a tag of its own needs
    run = bare.release(number=708)
    assert (run.job("publish").result, run.job("stopped").result) == ("failure", "success")
    assert bare.record()[-1][0] == "promoted"
    issue = list(bare.github.issues.values())[-1]
    assert (issue["title"], issue["state"]) == ("A release run failed", "open")
    bare.github.releases.refused = lambda _: True  # the workflows of main have changed since
    assert bare.release(number=708, attempt=2).status == 0
    assert issue["state"] == "closed"
    assert f"Made from commit {bare.scratch.head}" in bare.state()["releases"][-1][2]
    bare.github.releases.refused = lambda _: False


def test_in_a_private_repository_nothing_is_signed_unless_it_says_so(bare: World, first: str) -> None:
    bare.scratch.branch("private")
    bare.scratch.write("k8s/overlays/production/NOTES.md", "A note.\n")
    bare.scratch.commit("Only what is deployed changes")
    before = bare.kept("attested")
    run = bare.release(number=707, event={"private": True})
    assert run.status == 0
    assert "release/sign" not in run.results
    assert "ATTESTATIONS=on signs in a private repository" in run.summary
    assert bare.kept("attested") == before
    assert first


@pytest.mark.usefixtures("stopped")
def test_every_step_has_run(bare: World, place: World) -> None:
    assert place.missed("release.yml") & bare.missed("release.yml") == set()
