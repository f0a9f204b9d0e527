"""Training jobs in the places that SageMaker gives them, without their container, by real training and exports.

Small models made here are taken away and go on; the starter's own stages run one after the other, a few steps of
training and a few questions, with `make test-sagemaker`.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from unit.extras.finetune.test_exports_real import ARCHITECTURES, write_gguf

from conftest import RealModels
from sluice.core.digests import digest_of_file
from sluice.core.params import load_params, set_params
from sluice.core.workspace import Workspace
from sluice.evaluation.asked_rows import EvaluateParameters
from sluice.extras.finetune.training_parameters import TrainingParameters
from sluice.extras.sagemaker import sources
from sluice.jobs.dvc_pipeline import pull
from support.aws.sagemaker_runs import ROOT
from support.libraries import Library
from unit.extras.finetune.tiny import model, write_base, write_codes
from unit.extras.sagemaker.pipelines.test_job import JOB

Library("peft")
STEPS = 400
_SECONDS = 240


def write_models(workspace: Workspace, folder: Path, architecture: str, width: int = 32) -> None:
    """Names a model of this machine in config/models.yaml: what is trained, and the same in GGUF, which is served."""
    base = write_base(folder / "base", architecture=architecture, width=width)
    whole = model(architecture=architecture, width=width)
    served = write_gguf(whole, folder / "served.gguf", ARCHITECTURES[architecture])
    weights = base / "model.safetensors"
    models = yaml.safe_load((workspace.config / "models.yaml").read_text())
    models["chat"] = {
        "name": architecture,
        "licence": "CC0-1.0",
        "source": f"file:{served}",
        "sha256": digest_of_file(served),
        "weights": {
            "source": f"file:{weights}",
            "sha256": digest_of_file(weights),
            "files": {path.name: digest_of_file(path) for path in base.iterdir() if path != weights},
        },
    }
    (workspace.config / "models.yaml").write_text(yaml.safe_dump(models))


def channels_of(workspace: Workspace, ml: Path) -> dict[str, str]:
    """The variables of the channels, filled as `sluice train --on sagemaker` does."""
    for name in ("src", "engine/src", "engine/pyproject.toml", "engine/requirements"):
        target = workspace.root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, target)
    folder = ml / "input" / "data"
    code = [path for part in sources.CODE for path in (workspace.root / part, *(workspace.root / part).rglob("*"))]
    for name, files in (("checkout", code), ("data", [*workspace.data.rglob("*")])):
        (folder / name).mkdir(parents=True)
        kept = [path for path in files if "__pycache__" not in path.parts]
        sources.pack(workspace.root, kept, folder / name / sources.ARCHIVE)
    shutil.copytree(workspace.build / "index", folder / "index")
    return {f"SM_CHANNEL_{name.upper()}": str(folder / name) for name in ("checkout", "data", "index")}


@pytest.mark.real
@pytest.mark.drill
@pytest.mark.parametrize("architecture", ["llama", "qwen3"])
def test_a_job_that_is_taken_away_goes_on(
    workspace: Workspace, models: RealModels, tmp_path: Path, architecture: str
) -> None:
    write_codes(workspace, models)
    write_models(workspace, tmp_path / "models", architecture)
    params = yaml.safe_load(workspace.params.read_text())
    params["train"] |= {"exports": ["gguf", "peft"], "checkpoint_every": 4}
    workspace.params.write_text(yaml.safe_dump(params))
    cache = tmp_path / "cache" / "models"
    cache.mkdir(parents=True)
    (cache / models.embed.parent.name).symlink_to(models.embed.parent, target_is_directory=True)
    ml = tmp_path / "ml"
    (ml / "model").mkdir(parents=True)
    env = {
        **os.environ,
        **channels_of(workspace, ml),
        "SAGEMAKER_BASE_DIR": str(ml),
        "SLUICE_CACHE": str(cache.parent),
        "SLUICE_INSTALLED": "1",
        "SM_MODEL_DIR": str(ml / "model"),
        "SM_HPS": json.dumps({"stage": "train", "train__steps": str(STEPS)}),
        "SM_NUM_GPUS": "0",
    }
    env.pop("PYTHONPATH", None)

    def start() -> subprocess.Popen[str]:
        words = [sys.executable, str(JOB), "--stage", "train"]
        return subprocess.Popen(words, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    first = start()
    deadline = time.monotonic() + _SECONDS
    while first.poll() is None and not list((ml / "checkpoints").glob("*/checkpoint-*/files.json")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    if first.poll() is None:
        os.kill(int((ml / "signals" / "0.pid").read_text()), signal.SIGTERM)
    said, _ = first.communicate(timeout=_SECONDS)
    assert first.returncode == 128 + signal.SIGTERM, said
    assert "which is saved" in said
    assert not list((ml / "model").iterdir())

    second = start()
    said, _ = second.communicate(timeout=_SECONDS)
    assert second.returncode == 0, said
    record = json.loads((ml / "model" / "training.json").read_text())
    assert record["steps"] == STEPS
    assert 0 < record["resumed"][0] < STEPS
    assert record["loss"][-1][1] < record["loss"][0][1]
    assert record["exports"].keys() == {"gguf", "peft"}
    assert (ml / "model" / "adapter.gguf").is_file()
    assert (ml / "model" / "peft" / "adapter_model.safetensors").is_file()
    assert not (ml / "output").exists()


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A clone with the starter's data."""
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
    """A job; its own words when it fails."""
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
    put(channels / "checkout", checkout, code)
    put(channels / "data", checkout, data)
    shutil.copytree(made / "index", channels / "index")
    (train / "model").mkdir()
    variables = {f"SM_CHANNEL_{name.upper()}": str(channels / name) for name in ("checkout", "data", "index")}
    chosen = json.dumps({"stage": "train", "train__steps": "2"})
    run(train, "train", SM_MODEL_DIR=str(train / "model"), SM_HPS=chosen, SM_NUM_GPUS="0", **variables)
    record = json.loads((train / "model" / "training.json").read_text())
    assert record["parameters"]["steps"] == 2
    assert load_params(checkout.params, "train", TrainingParameters).steps != 2

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
