"""config/sagemaker.yaml: what is refused, and how it is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from sluice.core.errors import ValidationErrors
from sluice.core.settings import load_settings
from sluice.extras.sagemaker.settings import SageMakerSettings, read, require
from support.aws.sagemaker_runs import ROOT, write_settings


def test_the_starter_s_file_is_valid_and_not_set_up() -> None:
    settings = read(ROOT / "config")
    assert settings is not None
    assert settings.missing() == ["region", "role", "bucket", "image", "prices.ml.m5.xlarge"]


def test_a_fork_that_dropped_the_file_has_no_settings(tmp_path: Path) -> None:
    assert read(tmp_path) is None


def test_a_price_is_needed_for_every_machine(tmp_path: Path) -> None:
    jobs = yaml.safe_load((ROOT / "config" / "sagemaker.yaml").read_text())["jobs"]
    jobs["train"]["instance_type"] = "ml.g5.12xlarge"
    write_settings(tmp_path, jobs=jobs)
    with pytest.raises(ValidationErrors, match=r"prices\.ml\.g5\.12xlarge: no price for what jobs use"):
        require(tmp_path)


PLAIN = {"name": "sluice-assistant", "instance_type": "ml.m5.xlarge", "alarms": ["errors"]}


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        ("region", "Frankfurt", "region: String should match"),
        ("role", "sluice-sagemaker", "role: String should match"),
        ("bucket", "s3://bucket", "bucket: String should match"),
        ("image", "training", "image: String should match"),
        ("budget_usd", 0, "budget_usd: Input should be greater than 0"),
        ("budget", 5, r"budget: unknown key \(did you mean 'budget_usd'\?\)"),
        ("jobs.train.instance_type", "m5.xlarge", "jobs.train.instance_type: String should match"),
        ("jobs.train.max_wait_minutes", 10, "max_wait_minutes is below max_minutes"),
        ("jobs.process.expected_minutes", 90, "expected_minutes is above max_minutes"),
        ("jobs.evaluate.instances", 2, "jobs.evaluate.instances: Input should be less than or equal to 1"),
        ("environment", {"HF_TOKEN": "x"}, "looks like a secret"),
        ("secrets", {"HF_TOKEN": "hub"}, "secrets.HF_TOKEN: String should match"),  # pragma: allowlist secret
        ("subnets", ["subnet-1"], "subnets and security_groups go together"),
        ("kms_key", "alias/key", "kms_key: String should match"),
        ("endpoint", {**PLAIN, "instances": 1}, "of two or more"),
        ("endpoint", {**PLAIN, "scaling": {"least": 0, "most": 2, "requests": 1}}, "of two or more"),
        ("endpoint", {**PLAIN, "scaling": {"least": 3, "most": 2, "requests": 1}}, "least is above most"),
        ("endpoint", {**PLAIN, "name": "a" * 41}, "endpoint.name: String should match"),
        ("endpoint", {"name": "a", "instance_type": "ml.m5.xlarge", "alarms": []}, "endpoint.alarms: Tuple should"),
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
