import json
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from sluice.core.workspace import Workspace
from sluice.extras.doctor.github import RULESET
from unit.extras.doctor.conftest import Run
from unit.extras.doctor.fake_settings import FakeSettings
from unit.github.fake_github import REPOSITORY, WRITER, fake_github

ROOT = Path(__file__).resolve().parents[5]
LIMITED = {"protected_branches": False, "custom_branch_policies": True}


@pytest.fixture
def there(loopback: None) -> Iterator[FakeSettings]:  # noqa: ARG001 - opens the network to this machine
    fake = FakeSettings(facts={"/actions/secrets": {"secrets": []}})
    with fake_github(fake):
        yield fake


@pytest.fixture
def run(there: FakeSettings, workspace: Workspace, monkeypatch: pytest.MonkeyPatch, doctor: Run) -> Run:
    shutil.copy(ROOT / "engine" / "tests" / "starter" / "config" / "project.yaml", workspace.config)
    (workspace.config / "providers.yaml").unlink(missing_ok=True)
    shutil.copytree(ROOT / ".github", workspace.root / ".github")
    for variable, value in (
        ("GITHUB_API_URL", there.url),
        ("GITHUB_REPOSITORY", REPOSITORY),
        ("GITHUB_TOKEN", WRITER),
    ):
        monkeypatch.setenv(variable, value)
    return partial(doctor, "github")


def states(out: str) -> dict[str, str]:
    return {one["what"]: one["state"] for one in json.loads(out)["github"]}


def test_without_yes_all_is_shown_and_nothing_is_changed(there: FakeSettings, run: Run) -> None:
    status, out, err = run("--fix", "--json")
    assert status == 1
    assert {method for method, _ in there.asked} == {"GET"}
    for what in ("environment staging", "environment production", "label rehearse", "ruleset", "token of workflows"):
        assert states(out)[what] == "missing"
        assert f"{what}: " in err
    assert f"gh api -X POST repos/{REPOSITORY}/rulesets --input {RULESET}" in err
    assert f"gh api -X POST repos/{REPOSITORY}/environments/staging/deployment-branch-policies -f name=main" in err
    assert "nothing was changed: --yes makes these changes" in err


def test_with_yes_all_is_made_and_a_second_time_there_is_nothing_to_do(there: FakeSettings, run: Run) -> None:
    _, out, err = run("--fix", "--yes", "--json")
    assert err.count("changed  ") == len(there.bodies) >= 8
    found = states(out)
    assert {what for what, state in found.items() if state == "missing"} == {"names", "environment production"}
    for name in ("staging", "production"):
        assert there.environments[name]["deployment_branch_policy"] == LIMITED
        assert [one["name"] for one in there.environments[name]["policies"]] == ["main"]
    assert there.workflow == {"default_workflow_permissions": "read", "can_approve_pull_request_reviews": False}
    assert there.subject["use_default"] is True
    assert there.approval == {"approval_policy": "all_external_contributors"}
    assert list(there.labels) == ["rehearse"]
    (rules,) = there.rulesets.values()
    assert rules == json.loads((ROOT / RULESET).read_text())
    made = list(there.bodies)
    _, _, err = run("--fix", "--yes")
    assert "nothing to change" in err
    assert there.bodies == made


def test_a_right_that_is_missing_is_one_line_and_the_rest_is_made(there: FakeSettings, run: Run) -> None:
    there.forbidden = ("/rulesets", "/labels")
    status, _, err = run("--fix", "--yes")
    assert status == 1
    refused = [line for line in err.splitlines() if line.startswith("REFUSED")]
    assert {line.partition("the token needs the right ")[2] for line in refused} == {
        "`Issues: write`",
        "`Administration: write`",
    }
    assert all("GitHub answers 403: Resource not accessible by personal access token" in line for line in refused)
    assert there.bodies
    before = len(there.bodies)
    there.forbidden = ()
    assert "REFUSED" not in run("--fix", "--yes")[2]
    assert len(there.bodies) > before
    assert "nothing to change" in run("--fix", "--yes")[2]


def test_a_run_that_was_cut_off_in_between_is_completed(there: FakeSettings, run: Run) -> None:
    """Between the limit of an environment and the branch that may enter it: then nobody may."""
    there.forbidden = tuple(f"/environments/{name}/deployment-branch-policies" for name in ("staging", "production"))
    run("--fix", "--yes")
    assert there.environments["staging"]["deployment_branch_policy"] == LIMITED
    assert there.environments["staging"]["policies"] == []
    there.forbidden, made = (), len(there.bodies)
    run("--fix", "--yes")
    assert [(method, path) for method, path, _ in there.bodies[made:]] == [
        ("POST", f"/environments/{name}/deployment-branch-policies") for name in ("staging", "production")
    ]


def test_an_environment_keeps_its_timer_and_its_reviewers(there: FakeSettings, run: Run) -> None:
    reviewers = [{"type": "Team", "id": 5}, {"type": "User", "id": 6}]
    kept = {"wait_timer": 30, "reviewers": reviewers, "prevent_self_review": True}
    classic = {"protected_branches": True, "custom_branch_policies": False}
    there.environments["production"] = {
        **kept,
        "policies": [],
        "variables": {},
        "deployment_branch_policy": classic,
    }
    run("--fix", "--yes")
    made = there.environments["production"]
    assert {name: made[name] for name in kept} == kept
    assert made["deployment_branch_policy"] == LIMITED


def test_other_branches_are_shown_out(there: FakeSettings, run: Run) -> None:
    policies = [{"id": 8, "name": "release/*", "type": "branch"}, {"id": 9, "name": "main", "type": "tag"}]
    there.environments["staging"] = {"policies": policies, "variables": {}, "deployment_branch_policy": LIMITED}
    _, _, err = run("--fix")
    assert "environment staging: may be entered from release/*, main too" in err
    assert f"gh api -X DELETE repos/{REPOSITORY}/environments/staging/deployment-branch-policies/8" in err
    assert there.environments["staging"]["policies"] == policies
    there.environments["staging"]["policies"] = policies[:1]
    run("--fix", "--yes")
    assert [one["name"] for one in there.environments["staging"]["policies"]] == ["main"]


def test_a_ruleset_of_that_name_is_changed_and_none_is_added(there: FakeSettings, run: Run) -> None:
    there.rulesets[77] = {"name": "main", "enforcement": "disabled", "rules": [{"type": "deletion"}]}
    there.rulesets[78] = {"name": "other", "enforcement": "disabled", "rules": []}
    run("--fix", "--yes")
    assert [(method, path) for method, path, _ in there.bodies if "rulesets" in path] == [("PUT", "/rulesets/77")]
    assert there.rulesets[77]["enforcement"] == "active"
    assert there.rulesets[78] == {"name": "other", "enforcement": "disabled", "rules": []}


def test_variables_are_set_where_they_differ(there: FakeSettings, run: Run) -> None:
    there.environments["staging"] = {"policies": [], "variables": {}, "deployment_branch_policy": LIMITED}
    there.variables["AWS_REGION"] = "us-east-1"
    words = ("--set", "AWS_REGION=eu-central-1", "--set", "staging/EKS_CLUSTER=blue", "--set", "ATTESTATIONS=off")
    _, _, err = run("--fix", *words)
    assert "variable AWS_REGION: us-east-1\n" in err
    assert f"gh api -X PATCH repos/{REPOSITORY}/actions/variables/AWS_REGION" in err
    assert there.variables == {"AWS_REGION": "us-east-1"}
    run("--fix", "--yes", *words)
    assert there.variables == {"AWS_REGION": "eu-central-1", "ATTESTATIONS": "off"}
    assert there.environments["staging"]["variables"] == {"EKS_CLUSTER": "blue"}
    assert "nothing to change" in run("--fix", "--yes", *words)[2]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--fix", "--set", "AWS_REGOIN=x"], "no workflow reads AWS_REGOIN"),
        (["--fix", "--set", "AWS_REGION"], "no value"),
        (["--yes"], "--fix works for GitHub only"),
        (["aws", "--fix"], "--fix works for GitHub only"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_changed(
    there: FakeSettings, run: Run, words: list[str], says: str
) -> None:
    status, _, err = run(*words)
    assert (status, says in err) == (1, True)
    assert there.bodies == []
