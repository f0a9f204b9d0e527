import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from sluice.cli import main
from sluice.core.errors import SluiceError, ValidationErrors
from sluice.core.settings import load_settings
from sluice.core.workspace import Workspace
from sluice.extras.sagemaker.pipeline_runs import require_affordable, used
from sluice.extras.sagemaker.settings import SageMakerSettings, read, require
from support.aws.sagemaker_runs import ROOT, jobs_with, write_settings


def test_the_starter_s_file_is_valid_and_not_set_up_and_a_fork_may_drop_it(tmp_path: Path) -> None:
    settings = read(ROOT / "config")
    assert settings is not None
    assert settings.missing() == ["region", "role", "bucket", "image", "prices.ml.m5.xlarge"]
    assert read(tmp_path) is None


@pytest.mark.parametrize("words", [("train", "--on", "sagemaker"), ("endpoint", "deploy")])
def test_a_place_that_is_not_set_up_is_told(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    monkeypatch.chdir(workspace.root)
    (workspace.config / "sagemaker.yaml").write_bytes((ROOT / "config" / "sagemaker.yaml").read_bytes())
    monkeypatch.setattr(sys, "argv", ["sluice", *words])
    assert main() == 1
    said = capsys.readouterr().err
    assert "SageMaker is not set up" in said
    assert "prices.ml.m5.xlarge: no price" in said


PLAIN = {"name": "sluice-assistant", "instance_type": "ml.m5.xlarge", "alarms": ["errors"]}


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        ("budget", 5, r"budget: unknown key \(did you mean 'budget_usd'\?\)"),
        ("jobs.train.instance_type", "m5.xlarge", "jobs.train.instance_type: "),
        ("jobs.train.max_wait_minutes", 10, "max_wait_minutes is below max_minutes"),
        ("jobs.process.expected_minutes", 90, "expected_minutes is above max_minutes"),
        ("environment", {"HF_TOKEN": "x"}, "looks like a secret"),
        ("secrets", {"HF_TOKEN": "hub"}, "secrets.HF_TOKEN: "),  # pragma: allowlist secret
        ("subnets", ["subnet-1"], "subnets and security_groups go together"),
        ("endpoint", {**PLAIN, "instances": 1}, "of two or more"),
        ("endpoint", {**PLAIN, "scaling": {"least": 0, "most": 2, "requests": 1}}, "of two or more"),
        ("endpoint", {**PLAIN, "scaling": {"least": 3, "most": 2, "requests": 1}}, "least is above most"),
    ],
)
def test_a_faulty_value_is_named_with_its_line(tmp_path: Path, place: str, value: Any, said: str) -> None:
    document: Any = yaml.safe_load((ROOT / "config" / "sagemaker.yaml").read_text())
    *above, last = place.split(".")
    inner = document
    for key in above:
        inner = inner[key]
    inner[last] = value
    path = tmp_path / "sagemaker.yaml"
    path.write_text(yaml.safe_dump(document))
    with pytest.raises(ValidationErrors, match=rf"sagemaker\.yaml:\d+: .*{said}"):
        load_settings(path, SageMakerSettings)


def test_every_machine_of_a_step_is_paid_for_and_without_a_watcher_the_bound_must_hold(tmp_path: Path) -> None:
    jobs = jobs_with(instances=4, instance_type="ml.g5.xlarge", expected_minutes=30, max_minutes=60)
    write_settings(tmp_path, jobs=jobs)
    with pytest.raises(ValidationErrors, match=r"prices\.ml\.g5\.xlarge: no price for what jobs use"):
        require(tmp_path)
    write_settings(tmp_path, jobs=jobs, budget_usd=3, prices={"ml.m5.xlarge": 0.24, "ml.g5.xlarge": 1.0})
    settings = require(tmp_path)
    said: list[str] = []
    require_affordable(settings, said.append, watched=True)
    assert said[0] == "estimate  $2.09 on demand, at most $4.36, budget $3.00"
    assert [line.split() for line in said[1:]] == [["Process", "$0.03"], ["Train", "$2.00"], ["Evaluate", "$0.06"]]
    with pytest.raises(SluiceError, match=r"may cost \$4\.36"):
        require_affordable(settings, said.append, watched=False)
    spent = [("Train", 900.0), ("Gates", 900.0), ("Register", 60.0)]
    assert used(settings, spent) == pytest.approx(1.0), "steps that run no machine cost nothing"


def test_a_machine_with_disks_of_its_own_is_asked_for_without_a_key_for_them(tmp_path: Path) -> None:
    """AWS's ProcessingClusterConfig, ResourceConfig and CreateEndpointConfig on local instance storage."""
    key = "arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
    write_settings(tmp_path, kms_key=key)
    settings = require(tmp_path)
    own = ("g4dn", "g5", "g6e", "p4d", "p5en", "m5d", "r6id", "trn1", "i4i")
    assert {settings.volume_key(f"ml.{family}.xlarge") for family in own} == {""}
    assert {settings.volume_key(f"ml.{family}.xlarge") for family in ("m5", "c6i", "inf2", "p3", "t3")} == {key}
