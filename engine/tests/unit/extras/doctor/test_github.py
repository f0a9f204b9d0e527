import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sluice.extras.doctor import github
from sluice.extras.doctor.check import Diagnosis, DiagnosisScope
from sluice.extras.doctor.github import RULESET
from unit.core.starter import STARTER
from unit.extras.doctor.fake_settings import FakeSettings
from unit.github.fake_github import REPOSITORY, WRITER, fake_github

ROOT = Path(__file__).resolve().parents[5]
BRANCHES = {"protected_branches": False, "custom_branch_policies": True}
CLASSIC = {"protected_branches": True, "custom_branch_policies": False}


@pytest.fixture
def there(loopback: None) -> Iterator[FakeSettings]:  # noqa: ARG001 - opens the network to this machine
    variables = {"AWS_ROLE_ARN": "role", "AWS_REGION": "region"}
    entered = {"policies": [{"id": 7, "name": "main", "type": "branch"}], "deployment_branch_policy": BRANCHES}
    fake = FakeSettings(
        facts={"/actions/secrets": {"secrets": [{"name": "SOME_KEY"}]}},
        environments={
            "pre": {**entered, "variables": variables},
            "live": {**entered, "variables": variables, "reviewers": [{"type": "User", "id": 1}]},
        },
        variables=dict(variables),
        rulesets={1: json.loads((ROOT / RULESET).read_text())},
        workflow={"default_workflow_permissions": "read", "can_approve_pull_request_reviews": True},
        subject={"use_default": True, "use_immutable_subject": True},
        approval={"approval_policy": "all_external_contributors"},
    )
    with fake_github(fake):
        yield fake


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    workflow = tmp_path / ".github" / "workflows" / "release.yml"
    workflow.parent.mkdir(parents=True)
    workflow.write_text(
        "if: vars.ATTESTATIONS != ''\nrole: ${{ vars.AWS_ROLE_ARN }}\nregion: ${{ vars.AWS_REGION }}\n"
        "key: ${{ secrets.SOME_KEY }}\ntoken: ${{ secrets.GITHUB_TOKEN }}\n"
    )
    ruleset = tmp_path / RULESET
    ruleset.parent.mkdir(parents=True)
    ruleset.write_bytes((ROOT / RULESET).read_bytes())
    return tmp_path


def look(there: FakeSettings, checkout: Path, **environment: str) -> dict[str, Diagnosis]:
    owner, _, name = REPOSITORY.partition("/")
    changes: dict[str, object] = {"organisation": owner, "name": name, "environments": ("pre", "live")}
    names = STARTER.model_copy(update=changes)
    variables = {"GITHUB_API_URL": there.url, "GITHUB_REPOSITORY": REPOSITORY, "GITHUB_TOKEN": WRITER}
    return {one.what: one for one in github.check(DiagnosisScope(checkout, names, {**variables, **environment}))}


def test_all_is_there(there: FakeSettings, checkout: Path) -> None:
    found = look(there, checkout)
    assert {what: one.state for what, one in found.items() if one.state != "ok"} == {
        "variable ATTESTATIONS": "optional"
    }
    assert {"names", "ruleset", "secret SOME_KEY", "variable AWS_ROLE_ARN of live", "environment pre"} <= set(found)
    assert "secret GITHUB_TOKEN" not in found
    assert all(one.good for one in found.values())
    assert {method for method, _ in there.asked} == {"GET"}, "a doctor looks and touches nothing"


def test_a_release_needs_no_variable_but_both_of_a_cloud(there: FakeSettings, checkout: Path) -> None:
    workflows = ROOT / ".github" / "workflows"
    text = "".join((workflows / name).read_text() for name in ("release.yml", "deploy-release.yml", "nightly.yml"))
    (checkout / ".github" / "workflows" / "release.yml").write_text(text)
    for given, wanted in (([], set()), (["AWS_ROLE_ARN"], {"AWS_REGION"}), (["AWS_REGION"], {"AWS_ROLE_ARN"})):
        there.variables = dict.fromkeys(given, "value")
        missing = {what for what, one in look(there, checkout).items() if one.state == "missing"}
        assert {what for what in missing if what.startswith("variable ")} == {f"variable {name}" for name in wanted}


@pytest.mark.parametrize(
    ("change", "what", "words"),
    [
        (lambda there: there.variables.pop("AWS_REGION"), "variable AWS_REGION", "gh variable set AWS_REGION"),
        (
            lambda there: there.approval.update(approval_policy="first_time_contributors"),
            "outside contributors",
            "-f approval_policy=all_external_contributors",
        ),
        (
            lambda there: there.facts.update({"/actions/secrets": {"secrets": []}}),
            "secret SOME_KEY",
            "gh secret set SOME_KEY",
        ),
        (
            lambda there: there.environments["live"].update(deployment_branch_policy=CLASSIC),
            "environment live",
            "-F 'deployment_branch_policy[custom_branch_policies]=true'",
        ),
    ],
)
def test_what_is_missing_comes_with_what_mends_it(
    there: FakeSettings, checkout: Path, change: Callable[[FakeSettings], None], what: str, words: str
) -> None:
    change(there)
    check = look(there, checkout)[what]
    assert check.state == "missing"
    assert words in check.fix


def test_reviewers_are_not_demanded_where_a_plan_may_have_none(there: FakeSettings, checkout: Path) -> None:
    del there.environments["live"]["reviewers"]
    for private, state in ((True, "optional"), (False, "missing")):
        there.facts[""]["private"] = private
        found = look(there, checkout)["environment live"]
        assert (found.state, "a private repository has them on Enterprise alone" in found.fix) == (state, True)


def test_approving_pull_requests_is_offered_and_not_demanded(there: FakeSettings, checkout: Path) -> None:
    """It is one setting with opening them, which a token in the environment `upgrade` does as well."""
    there.workflow["can_approve_pull_request_reviews"] = False
    found = look(there, checkout)["token of workflows"]
    assert (found.state, found.changes) == ("optional", ())
    assert "needs UPGRADE_TOKEN" in found.found
    assert "can_approve_pull_request_reviews=true" in found.fix


def test_both_forms_of_the_subject_are_right(there: FakeSettings, checkout: Path) -> None:
    for immutable, subject in ((True, "repo:octo@123/app@456:…"), (None, "repo:octo/app:…")):
        there.subject["use_immutable_subject"] = immutable
        found = look(there, checkout)
        assert (found["OIDC subject"].state, found["OIDC subject"].found) == ("ok", subject)
        assert found["repository"].found == "octo/app, branch main; OwnerId 123, RepositoryId 456"


def test_what_the_token_may_not_see_is_not_verified(there: FakeSettings, checkout: Path) -> None:
    there.refused = {"/actions/secrets", "/environments", "/actions/permissions/workflow"}
    found = look(there, checkout)
    for what in ("secrets", "environment pre", "environment live", "token of workflows"):
        assert found[what].state == "not verified"
        assert "GitHub answers 403" in found[what].found
    assert found["variable AWS_REGION"].state == "ok"


def test_nothing_is_verified_without_a_token_an_answer_or_a_repository(there: FakeSettings, checkout: Path) -> None:
    for environment in ({"GITHUB_TOKEN": ""}, {"GITHUB_REPOSITORY": ""}, {"GITHUB_TOKEN": "unknown"}):
        found = look(there, checkout, **environment)
        assert [one.state for one in found.values()] == ["not verified"]
    gone = look(there, checkout, GITHUB_API_URL="http://127.0.0.1:9")
    assert [one.state for one in gone.values()] == ["not verified"]
