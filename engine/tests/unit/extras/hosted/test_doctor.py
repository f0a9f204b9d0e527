"""The environment that holds the keys of hosted models, as it should be and each way in which it may fall short."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sluice.extras.doctor.github import RULESET
from sluice.extras.doctor.targets import TARGETS, Diagnosis, DiagnosisScope
from unit.core.starter import STARTER
from unit.extras.hosted.conftest import hosted
from unit.github.fake_github import REPOSITORY, WRITER, fake_github
from unit.github.fake_repository import FakeRepository

ROOT = Path(__file__).resolve().parents[5]
CUSTOM = {"protected_branches": False, "custom_branch_policies": True}
POLICIES = "/environments/evaluation/deployment-branch-policies"
SECRETS = "/environments/evaluation/secrets"


@pytest.fixture
def there(loopback: None) -> Iterator[FakeRepository]:  # noqa: ARG001 - opens the network to this machine
    facts: dict[str, Any] = {
        "/environments": {"environments": [{"name": "evaluation", "deployment_branch_policy": CUSTOM}]},
        POLICIES: {"branch_policies": [{"name": "main"}]},
        SECRETS: {"secrets": [{"name": "PROVIDER_KEYS"}]},
        "/actions/secrets": {"secrets": []},
    }
    with fake_github(FakeRepository(facts=facts)) as fake:
        assert isinstance(fake, FakeRepository)
        yield fake


def found(there: FakeRepository, root: Path, providers: str) -> dict[str, Diagnosis]:
    (root / "config").mkdir()
    (root / "config" / "providers.yaml").write_text(providers)
    workflow = root / ".github" / "workflows" / "answer-requests.yml"
    workflow.parent.mkdir(parents=True)
    workflow.write_bytes((ROOT / ".github" / "workflows" / workflow.name).read_bytes())
    ruleset = root / RULESET
    ruleset.parent.mkdir(parents=True)
    ruleset.write_bytes((ROOT / RULESET).read_bytes())
    environment = {"GITHUB_API_URL": there.url, "GITHUB_TOKEN": WRITER, "GITHUB_REPOSITORY": REPOSITORY}
    scope = DiagnosisScope(root, STARTER, environment)
    return {one.what: one for one in TARGETS["github"](scope)}


def test_an_environment_of_main_alone_with_its_secret_passes(there: FakeRepository, tmp_path: Path) -> None:
    said = found(there, tmp_path, hosted("http://127.0.0.1:1"))
    assert said["environment evaluation"].state == "ok"
    assert said["secret PROVIDER_KEYS of evaluation"].state == "ok"
    assert said["secret PROVIDER_KEYS"].state == "optional"  # of the repository: it does not belong there


@pytest.mark.parametrize(
    ("path", "facts", "what", "says"),
    [
        ("/environments", {"environments": []}, "environment evaluation", "there are: none"),
        (
            POLICIES,
            {"branch_policies": [{"id": 1, "name": "main"}, {"id": 2, "name": "*"}]},
            "environment evaluation",
            "entered from * too",
        ),
        (
            "/environments",
            {"environments": [{"name": "evaluation", "deployment_branch_policy": None}]},
            "environment evaluation",
            "any branch may deploy",
        ),
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
    assert one.mend.startswith("gh ")


def test_a_project_with_a_local_model_needs_none_of_it(there: FakeRepository, tmp_path: Path) -> None:
    local = (ROOT / "config" / "providers.yaml").read_text()
    assert not [what for what in found(there, tmp_path, local) if "evaluation" in what]
