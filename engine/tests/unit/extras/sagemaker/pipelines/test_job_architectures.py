"""A training job in the places that SageMaker gives it, without its container: models of three architectures, a machine
that is taken away, and the job that goes on. Training, llama.cpp and the exports are real; the models are made here.
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

from conftest import RealModels
from sluice.core.digests import digest_of_file
from sluice.core.workspace import Workspace
from sluice.extras.sagemaker import source_archives
from support.aws.sagemaker_runs import ROOT
from support.libraries import Library
from unit.extras.finetune.test_exports_real import ARCHITECTURES, write_gguf
from unit.extras.finetune.tiny import model, write_base, write_codes
from unit.extras.sagemaker.pipelines.test_job import JOB

Library("peft")
pytestmark = [pytest.mark.real, pytest.mark.drill]
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
    code = [
        path for part in source_archives.CODE for path in (workspace.root / part, *(workspace.root / part).rglob("*"))
    ]
    for name, files in (("checkout", code), ("data", [*workspace.data.rglob("*")])):
        (folder / name).mkdir(parents=True)
        kept = [path for path in files if "__pycache__" not in path.parts]
        source_archives.pack(workspace.root, kept, folder / name / source_archives.ARCHIVE)
    shutil.copytree(workspace.build / "index", folder / "index")
    return {f"SM_CHANNEL_{name.upper()}": str(folder / name) for name in ("checkout", "data", "index")}


@pytest.mark.parametrize("architecture", ["llama", "mistral", "qwen3"])
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
