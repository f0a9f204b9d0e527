"""Estimates and what was used."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from sluice.core.errors import SluiceError
from sluice.extras.sagemaker.run_cost import estimate, pipeline_jobs, used
from sluice.extras.sagemaker.settings import SageMakerSettings, require
from support.aws.sagemaker_runs import ROOT, write_settings


@pytest.fixture
def settings(tmp_path: Path) -> SageMakerSettings:
    """Four machines train."""
    jobs = yaml.safe_load((ROOT / "config" / "sagemaker.yaml").read_text())["jobs"]
    jobs["train"] |= {"instances": 4, "instance_type": "ml.g5.xlarge", "expected_minutes": 30, "max_minutes": 60}
    write_settings(tmp_path, jobs=jobs, prices={"ml.m5.xlarge": 0.24, "ml.g5.xlarge": 1.0})
    return require(tmp_path)


def test_every_machine_of_a_step_counts(settings: SageMakerSettings) -> None:
    found = estimate(settings, pipeline_jobs(settings))
    assert found.expected == pytest.approx({"Process": 0.032, "Train": 2.0, "Evaluate": 0.06})
    assert found.at_most == pytest.approx(0.12 + 4.0 + 0.24)
    assert found.lines()[0] == "estimate  $2.09 on demand, at most $4.36, budget $5.00"


def test_steps_that_run_no_machine_cost_nothing(settings: SageMakerSettings) -> None:
    assert used(
        settings, pipeline_jobs(settings), [("Train", 900.0), ("Gates", 900.0), ("Register", 60.0)]
    ) == pytest.approx(1.0)


def test_without_a_watcher_the_bound_must_hold(settings: SageMakerSettings) -> None:
    tight = settings.model_copy(update={"budget_usd": 3.0})
    jobs = pipeline_jobs(tight)
    estimate(tight, jobs).require(watched=True)
    with pytest.raises(SluiceError, match=r"may cost \$4\.36"):
        estimate(tight, jobs).require(watched=False)
