# ruff: noqa: F811 - fixtures that are imported are named by the tests
"""Each role may do what its path asks of AWS, and nothing else.

The calls of a path are those that boto3 makes over moto (`REQUESTS`), the rights those of engine/aws/bootstrap.yaml.
"""

import json
from types import SimpleNamespace
from typing import Any

from sluice.core.workspace import Workspace
from sluice.extras.sagemaker.results import follow_champion
from support.aws.played_sagemaker import Played
from support.aws.role_policies import allows, asked, needs, require, statements
from support.aws.sagemaker_runs import GOLDEN, Jobs
from support.aws.service_model import REQUESTS
from unit.aws import test_bootstrap
from unit.extras.sagemaker.test_pipeline_steps import requests
from unit.extras.sagemaker.test_train import (  # noqa: F401 - fixtures
    Train,
    jobs,
    template,
    told,
    train,
    workspace,
)


def test_building_trains_takes_the_result_and_rejects(
    workspace: Workspace, played: Played, jobs: Jobs, train: Train
) -> None:
    REQUESTS.clear()
    train()
    adapter = SimpleNamespace(sha256=played.metadata[jobs.package]["adapter_sha256"])
    manifest: Any = SimpleNamespace(id="r-1", adapter=adapter)
    follow = follow_champion(workspace.config)
    assert follow
    follow(manifest, False, "too slow")
    require(test_bootstrap.template(), "BuildRole", asked())
    REQUESTS.clear()
    follow(manifest, True, "every step held")
    held = statements(test_bootstrap.template(), "BuildRole")
    assert [action for action, *more in asked() if not allows(held, action, *more)] == ["sagemaker:UpdateModelPackage"]
    held = statements(test_bootstrap.template(), "ProductionRole")
    assert all(allows(held, *one) for one in asked())


def test_sagemaker_starts_what_the_definition_has() -> None:
    wanted = []
    for call, params in requests(json.loads(GOLDEN.read_text())["Steps"]):
        wanted += needs("sagemaker", call, params)
    held = statements(test_bootstrap.template(), "SageMakerRole")
    assert {action for action, _, _ in wanted} >= {"sagemaker:CreateTrainingJob", "iam:PassRole"}
    assert [one for one in wanted if not allows(held, *one)] == []
    secret = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:sluice/{}/hub-a1b2c3"  # pragma: allowlist secret
    assert allows(held, "secretsmanager:GetSecretValue", secret.format("training"), {})
    assert not allows(held, "secretsmanager:GetSecretValue", secret.format("keys"), {})
    own = "arn:aws:ecr:eu-west-1:763104351884:repository/pytorch-training"
    assert allows(held, "ecr:BatchGetImage", own, {})
