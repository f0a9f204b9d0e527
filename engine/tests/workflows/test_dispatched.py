"""Workflows that a person or the clock starts: rollback, training, the night, the cluster, upgrades."""

import pytest

from sluice.core.extras import extras
from sluice.template.owned import version_of
from workflows.act import Run
from workflows.coverage import RUN
from workflows.hostile import NAME, all_kinds, one_line
from workflows.scratch import dispatched, repository
from workflows.world import World

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(3600)]


@pytest.fixture(scope="module")
def first(bare: World) -> Run:
    return bare.release(number=900)


@pytest.fixture(scope="module")
def second(bare: World, first: Run) -> Run:  # noqa: ARG001 - it is the one before
    """Another release, whose commit and author say all that is hostile."""
    written = all_kinds(bare.runner.place)
    author = one_line(written)
    bare.scratch.edit_prompt("second", written, author=author)
    return bare.release(number=901, event={"message": written, "author": author}, actor=author)


def test_what_a_commit_says_changes_nothing_of_a_release(bare: World, first: Run, second: Run) -> None:
    assert first.status == second.status == 0
    assert second.results == first.results
    assert {name: set(outputs) for name, outputs in second.outputs.items()} == {
        name: set(outputs) for name, outputs in first.outputs.items()
    }
    assert second.job("plan").outputs == first.job("plan").outputs
    assert bare.traces(NAME) == []


def test_a_rollback_brings_back_the_release_before(
    bare: World, first: Run, second: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, after = (run.job("release").outputs["stage.release"] for run in (first, second))
    assert before != after
    assert bare.state()["aliases"]["champion"] == after
    monkeypatch.setitem(bare.variables, "SLUICE_SERVE_ON", "sagemaker")
    run = bare.dispatch("rollback.yml", number=902, environment="production", release="previous")
    assert run.status == 0
    assert "played: endpoint deploy" in run.job("rollback").log
    assert bare.record()[-2:] == [("rolling-back", before), ("rolled-back", before)]
    assert bare.state()["aliases"]["champion"] == before


def test_what_an_input_says_changes_nothing(bare: World, second: Run) -> None:  # noqa: ARG001 - there is a release
    written, before = all_kinds(bare.runner.place), bare.state()
    inputs = {"environment": "production", "release": written}
    run = bare.dispatch("rollback.yml", number=910, actor=one_line(written), **inputs)
    assert (run.results, run.outputs) == ({"rollback/rollback": "failure"}, {})
    assert bare.state() == before
    assert bare.traces(NAME) == []


def test_a_rollback_of_a_cluster_that_has_nothing_changes_nothing(place: World) -> None:
    before = place.state()
    run = place.dispatch("rollback.yml", number=903, environment="production", release="previous")
    assert run.status == 1
    assert "error: " in run.job("rollback").log
    assert place.state() == before


if "finetune" in extras():

    def test_training_with_other_parameters_is_compared_with_the_branch(bare: World) -> None:
        run = bare.dispatch("train.yml", number=904, parameters="train.steps=10 train.batch=4")
        assert run.status == 0
        assert "No difference seen" in run.job("train").summary
        kept = bare.artifact("training", run=904)
        assert (kept / "adapter" / "adapter.gguf").is_file()
        assert (kept / "comparison" / "report.html").is_file()
        assert bare.github.comments == {}


if "sagemaker" in extras():

    def test_sagemaker_trains_where_it_is_asked_for(place: World) -> None:
        run = place.dispatch("train.yml", number=909, parameters="train.steps=10", on="sagemaker")
        assert run.status == 0
        assert place.made()[-2:] == ["sagemaker", "eval"]
        assert "No difference seen" in run.job("sagemaker").summary
        assert (place.artifact("training", run=909) / "adapter" / "adapter.gguf").is_file()


def test_a_failing_night_opens_one_issue_and_a_good_one_closes_it(place: World) -> None:
    before = len(place.github.issues)
    bad = place.dispatch("nightly.yml", number=905, fails="soak")
    assert [name for name, result in bad.results.items() if result == "failure"] == ["nightly/soak"]
    *_, issue = place.github.issues.values()
    assert (issue["title"], issue["state"]) == ("The nightly run fails", "open")
    assert "| `soak` | `failure` |" in issue["body"]
    clock = {"schedule": "17 3 * * 1-6", "repository": repository()}
    good = place._run("nightly.yml", "schedule", clock, number=906)
    assert good.status == 0
    assert len(place.github.issues) == before + 1
    assert issue["state"] == "closed"
    assert place.artifact("evaluation", run=906).is_dir()
    last = {"head_sha": place.scratch.git("rev-parse", "HEAD").strip(), "conclusion": "success"}
    place.github.more["/actions/workflows/nightly.yml/runs"] = {"workflow_runs": [last]}
    again = place._run("nightly.yml", "schedule", clock, number=908)
    assert again.results == {"nightly/plan": "success", "nightly/audit": "success"}


def test_a_night_says_what_is_missing_and_where_a_merge_releases_nothing(bare: World) -> None:
    place = repository(private=True, branch="develop")
    payload = dispatched() | {"ref": "refs/heads/develop", "repository": place}
    run = bare._run("nightly.yml", "workflow_dispatch", payload, number=913)
    assert run.status == 0
    assert "the variable SLUICE_IMAGE_BASE" in run.summary
    assert "A merge to develop releases nothing" in run.summary
    assert "the variable CODE_SCANNING=on" in run.job("scorecard").summary


if "engine_tests" in extras():

    def test_the_template_s_own_tests_are_asked_for_with_a_cluster_and_macos(place: World) -> None:
        assert place.dispatch("template-tests.yml", number=907).status == 0
        assert {"test-engine", "test-workflows", "test-drill", "test-parts", "test-fork"} <= set(place.made())
        assert {"release", "kind", "e2e-cluster", "test-unit"} <= set(place.made())


if "upgrade" in extras():

    def test_a_template_that_has_nothing_newer_is_asked(bare: World) -> None:
        version = version_of(bare.scratch.root)
        bare.scratch.branch("upgrading")
        bare.scratch.git("push", "--quiet", "origin", f"HEAD:refs/tags/v{version}")
        project = (bare.scratch.root / "config/project.yaml").read_text()
        bare.scratch.write("config/project.yaml", f"{project}template: {{repository: '{bare.scratch.origin}'}}\n")
        bare.scratch.commit("Where the template is")
        run = bare.dispatch("upgrade-template.yml", number=908, version="")
        assert run.status == 0
        assert "this engine is the newest version of the template" in run.job("upgrade").log


def test_every_step_has_run(bare: World, place: World) -> None:
    for workflow in {*RUN} - {"ci.yml", "release.yml", "answer-requests.yml", "template-release.yml"}:
        assert bare.missed(workflow) & place.missed(workflow) == set(), workflow
