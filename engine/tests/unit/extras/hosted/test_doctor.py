"""The environment that holds the keys of hosted models, as it should be and each way in which it may fall short."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from sluice.extras.doctor import github
from sluice.extras.doctor.check import Diagnosis, DiagnosisScope
from sluice.extras.doctor.github import RULESET
from sluice.extras.hosted.doctor import account_checks
from support.aws.moto_server import aws_server, make_stack
from unit.core.starter import STARTER
from unit.extras.hosted.conftest import hosted
from unit.github.fake_github import REPOSITORY, WRITER, fake_github
from unit.github.fake_repository import FakeRepository

ROOT = Path(__file__).resolve().parents[5]
CUSTOM = {"protected_branches": False, "custom_branch_policies": True}
POLICIES = "/environments/evaluation/deployment-branch-policies"
SECRETS = "/environments/evaluation/secrets"
VARIABLES = "/environments/evaluation/variables"
ON_AWS: dict[str, Any] = {"kind": "bedrock", "region": "eu-west-3", "key_env": None}


@pytest.fixture
def there(loopback: None) -> Iterator[FakeRepository]:  # noqa: ARG001 - opens the network to this machine
    facts: dict[str, Any] = {
        "/environments": {"environments": [{"name": "evaluation", "deployment_branch_policy": CUSTOM}]},
        POLICIES: {"branch_policies": [{"name": "main"}]},
        SECRETS: {"secrets": [{"name": "PROVIDER_KEYS"}]},
        VARIABLES: {"variables": [{"name": "AWS_EVALUATION_ROLE_ARN"}]},
        "/actions/secrets": {"secrets": []},
        "/actions/variables": {"variables": []},
    }
    with fake_github(FakeRepository(facts=facts)) as fake:
        yield fake


def environment(there: FakeRepository) -> dict[str, str]:
    return {"GITHUB_API_URL": there.url, "GITHUB_TOKEN": WRITER, "GITHUB_REPOSITORY": REPOSITORY}


def found(there: FakeRepository, root: Path, providers: str) -> dict[str, Diagnosis]:
    (root / "config").mkdir()
    (root / "config" / "providers.yaml").write_text(providers)
    workflow = root / ".github" / "workflows" / "answer-requests.yml"
    workflow.parent.mkdir(parents=True)
    workflow.write_bytes((ROOT / ".github" / "workflows" / workflow.name).read_bytes())
    ruleset = root / RULESET
    ruleset.parent.mkdir(parents=True)
    ruleset.write_bytes((ROOT / RULESET).read_bytes())
    scope = DiagnosisScope(root, STARTER, environment(there))
    return {one.what: one for one in github.check(scope)}


def test_an_environment_of_main_alone_with_its_secret_passes(there: FakeRepository, tmp_path: Path) -> None:
    said = found(there, tmp_path, hosted("http://127.0.0.1:1"))
    assert said["environment evaluation"].state == "ok"
    assert said["secret PROVIDER_KEYS of evaluation"].state == "ok"
    assert said["secret PROVIDER_KEYS"].state == "optional"  # of the repository: it does not belong there


OPEN = {"environments": [{"name": "evaluation", "deployment_branch_policy": None}]}


@pytest.mark.parametrize(
    ("path", "facts", "what", "says"),
    [
        ("/environments", OPEN, "environment evaluation", "any branch may deploy"),
        (SECRETS, {"secrets": []}, "secret PROVIDER_KEYS of evaluation", "not set"),
    ],
)
def test_what_falls_short_is_missing_with_the_command_that_mends_it(
    there: FakeRepository, tmp_path: Path, path: str, facts: Any, what: str, says: str
) -> None:
    there.facts[path] = facts
    one = found(there, tmp_path, hosted("http://127.0.0.1:1"))[what]
    assert one.state == "missing"
    assert says in one.found
    assert one.fix.startswith("gh ")


def test_a_model_on_aws_needs_a_role_in_place_of_a_key(there: FakeRepository, tmp_path: Path) -> None:
    said = found(there, tmp_path, hosted("http://127.0.0.1:1", **ON_AWS))
    assert said["environment evaluation"].state == "ok"
    assert said["variable AWS_EVALUATION_ROLE_ARN of evaluation"].state == "ok"
    assert said["variable AWS_EVALUATION_ROLE_ARN"].state == "optional"  # of the repository
    assert "secret PROVIDER_KEYS of evaluation" not in said
    there.facts[VARIABLES] = {"variables": []}
    scope = DiagnosisScope(tmp_path, STARTER, environment(there))
    one = {one.what: one for one in github.check(scope)}["variable AWS_EVALUATION_ROLE_ARN of evaluation"]
    assert (one.state, one.fix.startswith("gh variable set")) == ("missing", True)


@pytest.mark.usefixtures("loopback")
def test_the_role_trusts_the_environment_on_main_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "providers.yaml").write_text(hosted("http://127.0.0.1:1", **ON_AWS))
    scope = DiagnosisScope(tmp_path, STARTER, {"GITHUB_REPOSITORY": "octo/assistant"})
    with aws_server(monkeypatch, region="eu-west-3"):
        make_stack(
            ROOT / "engine" / "aws" / "bootstrap.yaml", Repository="octo/assistant", OwnerId="123", RepositoryId="456"
        )
        ((what, look),) = account_checks(scope, lambda service: boto3.client(service), "the stack")
        one = look()
    assert (what, one.state) == ("role sluice-evaluation", "ok")


def test_a_project_with_a_local_model_needs_none_of_it(there: FakeRepository, tmp_path: Path) -> None:
    local = (ROOT / "config" / "providers.yaml").read_text()
    assert not [what for what in found(there, tmp_path, local) if "evaluation" in what]
