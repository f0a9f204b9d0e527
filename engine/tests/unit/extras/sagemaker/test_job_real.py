"""The starter's own stages in container/job.py, with a few steps of training and a few questions."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sluice.core.params import set_params
from sluice.core.workspace import Workspace
from sluice.evaluation.asked_rows import EvaluateParameters
from sluice.extras.finetune.training_parameters import TrainingParameters
from sluice.extras.sagemaker import sources
from sluice.jobs.dvc_pipeline import pull
from support.aws.sagemaker_runs import ROOT
from support.libraries import Library
from unit.extras.sagemaker.test_job import JOB

Library("peft")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    root = tmp_path_factory.mktemp("real") / "checkout"
    subprocess.run(["git", "clone", "--quiet", "--local", str(ROOT), str(root)], check=True)
    for name in sources.CODE:  # what is not committed yet is tried as well
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, root / name, dirs_exist_ok=True)
        else:
            shutil.copy(ROOT / name, root / name)
    workspace = Workspace(root)
    pull(workspace)
    return workspace


def put(channel: Path, workspace: Workspace, files: list[Path]) -> None:
    channel.mkdir(parents=True)
    sources.pack(workspace.root, files, channel / sources.ARCHIVE)


def run(base: Path, stage: str, **variables: str) -> None:
    cache = {"SLUICE_CACHE": str(Workspace(ROOT).cache)}  # models that this machine has are not fetched again
    env = {**os.environ, **cache, "SAGEMAKER_BASE_DIR": str(base), "SLUICE_INSTALLED": "1", **variables}
    env.pop("PYTHONPATH", None)
    done = subprocess.run(
        [sys.executable, str(JOB), "--stage", stage], env=env, capture_output=True, text=True, check=False, timeout=900
    )
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.sagemaker
@pytest.mark.e2e
@pytest.mark.timeout(1800)
def test_the_stages_run_in_the_jobs_one_after_the_other(checkout: Workspace, tmp_path: Path) -> None:
    code, data = sources.code_of(checkout), [*checkout.data.rglob("*")]
    process, train, evaluate = (tmp_path / name for name in ("process", "train", "evaluate"))
    put(process / "processing" / "input" / "checkout", checkout, code)
    put(process / "processing" / "input" / "data", checkout, data)
    run(process, "process")
    # After the check, which would say that twelve rows are too few: the evaluation asks no more here.
    set_params(checkout.params, ["evaluate.limit=12"], {"train": TrainingParameters, "evaluate": EvaluateParameters})
    put(evaluate / "processing" / "input" / "checkout", checkout, code)
    put(evaluate / "processing" / "input" / "data", checkout, data)
    made = process / "processing" / "output"
    assert json.loads((made / "check" / "report.json").read_text())["digest"]

    channels = train / "input" / "data"
    set_params(checkout.params, ["train.steps=2"], {"train": TrainingParameters})
    put(channels / "checkout", checkout, code)
    put(channels / "data", checkout, data)
    shutil.copytree(made / "index", channels / "index")
    (train / "model").mkdir()
    variables = {f"SM_CHANNEL_{name.upper()}": str(channels / name) for name in ("checkout", "data", "index")}
    run(train, "train", SM_MODEL_DIR=str(train / "model"), SM_NUM_GPUS="0", **variables)
    assert json.loads((train / "model" / "training.json").read_text())["parameters"]["steps"] == 2

    inputs = evaluate / "processing" / "input"
    for name in ("index", "guard"):
        shutil.copytree(made / name, inputs / name)
    put(inputs / "live", checkout, [])
    (inputs / "model").mkdir()
    packed = inputs / "model" / "model.tar.gz"
    subprocess.run(["tar", "-C", str(train / "model"), "-czf", str(packed), "."], check=True)
    run(evaluate, "evaluate")
    verdict = json.loads((evaluate / "processing" / "output" / "gates" / "gates.json").read_text())
    # Twelve questions are too few for any gate, and no gate passes on silence.
    assert verdict["passed"] is False
    assert "comparison_answer_key" in verdict["refused_by"]
    assert all(one["samples"] <= 12 for one in verdict["verdicts"])
