"""The workflows hold to the policy (engine/tests/policy/), to the plan of a change, and to the Makefile."""

import re
from pathlib import Path

import pytest
import yaml

from policy import Repository, faults
from policy.files import expressions
from policy.rules import ledger, used
from sluice.core.extras import FOLDER, extras
from sluice.github.job_plan import JOBS, jobs_for
from sluice.jobs import compare_change as review
from starter_files import ROOT
from support.github_expressions import evaluate

ACTIONS = "engine/tests/workflows/actions"  # what plays those of others


@pytest.fixture(scope="module")
def github(root: Path) -> Repository:
    return Repository.read(root)


def test_everything_holds_to_the_policy(github: Repository) -> None:
    assert faults(github) == []


def test_the_ledger_has_what_is_used_and_nothing_else(github: Repository) -> None:
    assert used(github) == ledger(github)


def test_ci_runs_what_the_plan_asks_for_and_nothing_else(github: Repository) -> None:
    ci = next(file for file in github.workflows if file.name == "ci.yml")
    assert list(ci.jobs) == ["plan", *JOBS, "required"]
    assert ci.jobs["plan"]["outputs"] == {one: f"${{{{ steps.plan.outputs.{one} }}}}" for one in (*JOBS, "parts")}
    for job in JOBS:
        assert f"needs.plan.outputs.{job} == 'true'" in ci.jobs[job]["if"]
        assert "plan" in ci.jobs[job]["needs"]


@pytest.mark.parametrize(
    ("plan", "waiting", "name"),
    [("skipped", "", "nothing to check"), ("success", "true", "waiting for answers"), ("success", "", "required")],
)
def test_a_verdict_alone_has_the_branch_rule_s_name(github: Repository, plan: str, waiting: str, name: str) -> None:
    job = next(file for file in github.workflows if file.name == "ci.yml").jobs["required"]
    needs = {"plan": {"result": plan}, "eval": {"outputs": {"waiting": waiting}}}
    assert evaluate(job["name"].removeprefix("${{").removesuffix("}}"), {"needs": needs}) == name


def test_a_run_that_is_run_again_cancels_no_newer_one(github: Repository) -> None:
    group = next(file for file in github.workflows if file.name == "ci.yml").document["concurrency"]["group"]
    event = {"action": "synchronize"}
    first, again = ({"run_id": "500", "run_attempt": attempt, "event": event} for attempt in ("1", "2"))
    names = [evaluate(group.rpartition("${{")[2].removesuffix("}}"), {"github": one}) for one in (first, again)]
    assert names == ["change", "500"]


def test_what_waits_is_not_replaced_by_the_next(github: Repository) -> None:
    waits = {file.name: file.document["concurrency"] for file in github.workflows if "concurrency" in file.document}
    asked = {"release.yml", "rollback.yml", "train.yml"} & set(waits)
    assert asked >= {"release.yml", "rollback.yml"}  # train is of an extra
    assert {name: waits[name].get("queue") for name in asked} == dict.fromkeys(asked, "max")
    assert [name for name in asked if waits[name]["cancel-in-progress"]] == []


def test_an_upload_may_be_repeated(github: Repository) -> None:
    uploads = [(where, step) for _, where, step, _ in github.steps() if "upload-artifact" in str(step.get("uses"))]
    assert uploads
    once = [step["with"] for _, step in uploads if step["with"].get("overwrite") is not True]
    assert [given["name"] for given in once if "github.run_attempt" not in given["name"]] == []
    # What is not zipped is called as its file, and `overwrite` removes what `name` says (actions/upload-artifact#769).
    raw = [step["with"] for _, step in uploads if step["with"].get("archive") is False]
    assert raw or "pull_requests" not in extras()
    assert [given for given in raw if given.get("name") != Path(given["path"]).name] == []


def test_actions_are_given_what_they_take_and_give_what_is_read(github: Repository, root: Path) -> None:
    """GitHub warns of an unknown input and goes on; a misspelled output is empty."""
    recorded = yaml.safe_load((root / ACTIONS / "recorded.yml").read_text())
    known_versions = {(name, one.get("instead-of", one["version"])) for name, one in recorded.items()}
    assert {(action, version) for action, _, version in ledger(github)} <= known_versions
    wrong, given_to, outputs = [], 0, {}
    for file, where, step, place in github.steps():
        action = str(step.get("uses", "")).partition("@")[0]
        if action in recorded:
            known, given = recorded[action], set(step.get("with") or {})
            given_to += len(given)
            wrong += [f"{where}: {action} has no input {name}" for name in given - {*known["inputs"]}]
            wrong += [f"{where}: {action} wants {name}" for name in {*known["required"]} - given]
            outputs[file.name, *place[:-1], step.get("id")] = known["outputs"]
    for file, where, step, place in github.steps():
        for step_id, name in re.findall(r"steps\.([\w-]+)\.outputs\.([\w-]+)", str(step)):
            known_ones = outputs.get((file.name, *place[:-1], step_id), [name])
            wrong += [f"{where}: {step_id} has no output {name}"] * (name not in known_ones)
    assert wrong == []
    assert given_to > 20
    assert len(outputs) > 5


# Megabytes of what a key begins with, rounded up from the starter's, and how often a week a workflow saves one: twenty
# pull requests of three pushes, which are merged. A key without the run's number is saved anew with another digest.
CACHES_MB = {"packages": 900, "models": 340, "trained": 60, "responses": 5, "answers": 5}
PULL_REQUESTS, PUSHES, LOCKS = 20, 3, 3
TIMES = {"ci.yml": PULL_REQUESTS * PUSHES, "release.yml": 20, "nightly.yml": 7, "answer-requests.yml": 40}


def test_a_week_of_caches_fits_and_a_pull_request_saves_little(github: Repository) -> None:
    """GitHub evicts beyond 10 GB, the longest unused first (docs.github.com, Dependency caching reference)."""
    saved = dict.fromkeys(("ci.yml", "elsewhere"), 0)
    for file, _, step, _ in github.steps():
        action = str(step.get("uses", "")).partition("@")[0]
        if action not in ("actions/cache", "actions/cache/save"):
            continue
        found = re.match(r"([a-z]+)-|\$\{\{ steps\.([a-z]+)\.outputs\.cache-primary-key", step["with"]["key"])
        assert found, step
        kind, once = found[1] or found[2], "github.run_id" not in step["with"]["key"]
        if file.name not in TIMES:
            assert "inputs.cache == 'save' && github.ref == format('refs/heads/" in step["if"]
            saved["elsewhere"] += CACHES_MB[kind] * LOCKS
        else:
            times = PULL_REQUESTS if once else TIMES[file.name]
            saved["ci.yml" if file.name == "ci.yml" else "elsewhere"] += CACHES_MB[kind] * times
    assert 0 < saved["ci.yml"] / PULL_REQUESTS <= 100
    assert sum(saved.values()) < 8000
    savers = [
        f"{file.name} {place[1]}"
        for file, _, step, place in github.steps()
        if str((step.get("with") or {}).get("cache")) == "save"
    ]
    assert len(savers) == 1


# Roles of engine/aws/bootstrap.yaml that a job may take: by its variable, or as an environment that is deployed to.
TAKEN = {"deploy-release.yml": ("StagingRole", "ProductionRole"), "rollback.yml": ("StagingRole", "ProductionRole")}
HOUR_S = 3600  # what a role is taken for without a word


def test_credentials_live_as_long_as_their_job_and_no_role_refuses_that(github: Repository, root: Path) -> None:
    """AWS refuses a duration beyond `MaxSessionDuration`."""
    text = re.sub(r"!\w+(?:\.\w+)?", "", (root / "engine/aws/bootstrap.yaml").read_text())  # of CloudFormation alone
    resources = yaml.safe_load(text)["Resources"]
    seen = set()
    for file in github.workflows:
        for name, job in file.jobs.items():
            for step in job.get("steps") or []:
                if "configure-aws-credentials" not in str(step.get("uses")):
                    continue
                for_s = step["with"].get("role-duration-seconds", HOUR_S)
                roles = TAKEN.get(file.name) or (
                    "EvaluationRole" if "EVALUATION" in step["with"]["role-to-assume"] else "BuildRole",
                )
                assert for_s >= 60 * job["timeout-minutes"], f"{file.name} {name}"
                for role in roles:
                    assert resources[role]["Properties"].get("MaxSessionDuration", HOUR_S) >= for_s, f"{name} {role}"
                seen.add(f"{file.name} {name}")
    releases = {f"release.yml {name}" for name in ("plan", "release", "rehearse", "publish", "stopped")}
    assert seen >= {*releases, "deploy-release.yml deploy", "rollback.yml rollback"}


def test_a_change_is_compared_with_what_it_is_merged_into(github: Repository) -> None:
    """`pull_request.base.sha` is where the base was at the last push, and a merge queue has its own."""
    ci = next(file for file in github.workflows if file.name == "ci.yml")
    bases = [
        step["env"]["BASE"]
        for _, job in ci.jobs.items()
        for step in job.get("steps") or []
        if "env" in step and "BASE" in step["env"]
    ]
    assert len(bases) >= 3
    assert [base for base in bases if "github.event.merge_group.base_sha || 'HEAD^1'" not in base] == []
    assert "merge_group" in ci.triggers
    assert not [
        one for file in github.workflows for one in expressions(file.document) if "pull_request.base.sha" in one
    ]


def test_a_cluster_is_that_of_the_environment(github: Repository) -> None:
    """A variable of an environment is empty in a job outside of it."""
    reading = {
        f"{file.name} {name}": "environment" in job
        for file in github.workflows
        for name, job in file.jobs.items()
        if any("vars.EKS_CLUSTER" in one for one in expressions(job))
    }
    assert len(reading) >= 2
    assert all(reading.values()), reading


# With one of these a step does more; without it nothing is left out that the run was for.
SIGN_IN = {"AWS_ROLE_ARN", "SLUICE_SERVE_ON", "SLUICE_TRAIN_ON"}


@pytest.mark.parametrize("name", ["release.yml", "deploy-release.yml", "rollback.yml"])
def test_what_a_run_leaves_out_names_the_variable(github: Repository, name: str) -> None:
    file = next(file for file in github.workflows if file.name == name)
    conditions, said = [], ""
    for job in file.jobs.values():
        steps = job.get("steps") or []
        conditions += [str(one.get("if", "")) for one in (job, *steps)] + [*(job.get("outputs") or {}).values()]
        said += "".join(step["run"] for step in steps if "ci.py say" in step.get("run", ""))
    deciding = set(re.findall(r"\bvars\.([A-Z_]+)", " ".join(conditions))) - SIGN_IN
    assert deciding
    assert [variable for variable in deciding if variable not in said] == []


def test_an_endpoint_follows_what_was_promoted_and_its_failure_takes_nothing_back(github: Repository) -> None:
    jobs = {file.name: file.jobs for file in github.workflows}
    for steps in (jobs["deploy-release.yml"]["deploy"]["steps"], jobs["rollback.yml"]["rollback"]["steps"]):
        assert "sluice release" in steps[-2]["run"]
        assert steps[-1]["run"].endswith("sluice endpoint deploy")
        assert steps[-1]["if"] == "vars.SLUICE_SERVE_ON == 'sagemaker'"
    conclude, issue = (step["if"] for step in jobs["release.yml"]["stopped"]["steps"][-2:])
    for live, noted in (("true", False), ("false", True)):
        production = {"result": "failure", "outputs": {"live": live}}
        needs = {"needs": {"staging": {"result": "success"}, "production": production}}
        assert (evaluate(conclude, needs), evaluate(issue, needs)) == (noted, not noted)


@pytest.mark.parametrize("path", review._INPUTS)
def test_what_answers_depend_on_is_compared(path: str) -> None:
    assert {"eval", "test"} <= jobs_for(path if "." in path else f"{path}/x")


def called_targets() -> list[str]:
    runs = [step.get("run", "").split() for *_, step, _ in Repository.read(ROOT).steps()]
    return sorted({words[1] for words in runs if words[:1] == ["make"]})


@pytest.mark.parametrize("target", called_targets())
def test_make_has_the_targets_that_steps_call(target: str) -> None:
    files = [ROOT / "Makefile", *ROOT.glob(f"{FOLDER}/*/extra.mk")]
    assert any(re.search(rf"^{target}:", file.read_text(), re.MULTILINE) for file in files)
