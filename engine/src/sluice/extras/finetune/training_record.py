"""The records of a training run: training.json, loss.csv for plots, the run and the adapter in MLflow, and its card."""

from __future__ import annotations

import os
import platform
import resource
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from modulefinder import ModuleFinder
from pathlib import Path
from typing import Any

import sluice
from sluice.core.atomic_files import read_json, write_atomic, write_json
from sluice.core.digests import digest_of, digest_of_file
from sluice.core.errors import SluiceError
from sluice.core.tracking import log_values, open_tracking, tracking_uri
from sluice.core.workspace import Workspace
from sluice.extras.finetune.dataset import Example
from sluice.extras.finetune.training_parameters import TrainingParameters
from sluice.llm.model_files import ModelSpec, load_models
from sluice.release.manifest import ADAPTER, Manifest, load_judgement
from sluice.release.mlflow_registry import (
    ADAPTER_MODEL,
    CANDIDATE,
    TRAINING,
    finished_run,
    new_version,
    open_registry,
    recorded_metrics,
    recorded_params,
    trained_version,
)
from sluice.release.mlflow_registry import EXPERIMENT as RELEASES

EXPERIMENT = "training"
_LIBRARIES = ("torch", "transformers", "peft", "accelerate", "trl")
_URI = f"models:/{ADAPTER_MODEL}@{CANDIDATE}"
# Of an adapter as an MLflow model: the script that MLflow runs, what it needs, and an example.
_SCRIPT = Path(__file__).with_name("adapter_model.py")
_SERVED_BY = ("mlflow", "xllamacpp", "gguf", "numpy", "pydantic", "pyyaml", "psutil", "filelock")
# What the schemes of model sources import. `wheel:` runs pip, which an environment made by uv lacks.
_OF_SCHEME = {"wheel": "pip", "hf": "huggingface-hub", "s3": "boto3"}
_EXAMPLE = {"messages": [{"role": "user", "content": "What is a canary release?"}]}
_DEFAULTS = {"max_tokens": 48, "temperature": 0.0}  # of its parameters


@dataclass(frozen=True)
class TrainingRun:
    """`loss`, `held_loss`: (step, mean loss of examples); `tokens` of prompts and answers; `resumed`: steps after which
    a run was resumed."""

    steps: int = 0
    seconds: float = 0.0
    tokens: int = 0
    answers: int = 0
    loss: list[tuple[int, float]] = field(default_factory=list)
    held_loss: list[tuple[int, float]] = field(default_factory=list)
    resumed: list[int] = field(default_factory=list)
    stopped: bool = False


def write_records(
    out: Path,
    run: TrainingRun,
    examples: Sequence[Example],
    params: TrainingParameters,
    *,
    rows: Mapping[str, str],
    **more: Any,
) -> None:
    """Write training.json and loss.csv. `rows` are digests by id; `more` are further entries of the record."""
    record = asdict(run) | {
        "data_digest": digest_of([[list(e.messages), e.target] for e in examples]),
        "parameters": params.model_dump(mode="json"),
        "seconds": round(run.seconds, 1),
        "tokens_per_second": round(run.tokens / run.seconds, 1) if run.seconds else 0.0,
        "samples": len(examples),
        "peak_memory_bytes": peak_memory(),
        "rows": {example.id: rows[example.id] for example in examples if example.id in rows},
        **more,
    }
    del record["stopped"]
    held = dict(run.held_loss)
    lines = [f"{step},{loss},{held.get(step, '')}" if held else f"{step},{loss}" for step, loss in run.loss]
    write_atomic(out / "loss.csv", "\n".join(["step,loss,held_loss" if held else "step,loss", *lines]) + "\n")
    write_json(out / TRAINING, record)


def describe_hardware(device: str, processes: int) -> dict[str, Any]:
    import torch

    found = {
        "device": torch.cuda.get_device_name() if device != "cpu" else _processor(),
        "cores": os.cpu_count() or 0,
        "processes": processes,
    }
    return found | {name: version(name) for name in _LIBRARIES}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())


def peak_memory() -> int:
    """Return this process's largest resident set so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def log_training(workspace: Workspace, out: Path) -> str:
    """Log the finished run in `out` and register its adapter; return the run id. The status comes last, so that an
    interrupted run is seen to be unfinished."""
    client, experiment = open_tracking(workspace, EXPERIMENT)
    record = read_json(out / TRAINING)
    run_id = str(client.create_run(experiment, tags={"data": record["data_digest"]}).info.run_id)
    log_values(client, run_id, recorded_metrics(record), recorded_params(record))
    for name in (TRAINING, "loss.csv"):
        client.log_artifact(run_id, str(out / name))
    if (adapter := out / ADAPTER).is_file():
        with open_registry(workspace) as registry:
            register_adapter(registry, adapter, workspace.config, run_id)
    client.set_terminated(run_id)
    return run_id


def register_adapter(client: Any, adapter: Path, config: Path, run_id: str = "") -> str:
    """Log and register an adapter, unless a version that can be asked has its content."""
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    sha256 = digest_of_file(adapter)
    version = trained_version(client, ADAPTER_MODEL, sha256)
    # Adapters of earlier versions of this project are files of a run, which cannot be asked: they are logged anew.
    if version and client.get_model_version(ADAPTER_MODEL, version).source.startswith("models:/"):
        return version
    run = client.get_run(run_id) if run_id else None
    experiment = run.info.experiment_id if run else client.get_experiment_by_name(RELEASES).experiment_id
    source = log_adapter(client, experiment, adapter, load_models(config / "models.yaml").chat, sha256, run_id)
    return new_version(client, ADAPTER_MODEL, source, sha256, run_id)


def take_adapter(workspace: Workspace, evaluated: Path) -> Path:
    """Register a release's adapter as candidate, and fetch what `models:/sluice-adapter@candidate` names."""
    store, into = tracking_uri(workspace), workspace.state / CANDIDATE
    with open_registry(workspace) as client:
        from mlflow.artifacts import download_artifacts

        version = register_adapter(client, evaluated, workspace.config)
        client.set_registered_model_alias(ADAPTER_MODEL, CANDIDATE, version)
        shutil.rmtree(into, ignore_errors=True)
        into.mkdir()
        download_artifacts(f"{_URI}/artifacts", dst_path=str(into), tracking_uri=store, registry_uri=store)
    taken = into / "artifacts" / ADAPTER
    if (found := digest_of_file(taken)) != (sha256 := digest_of_file(evaluated)):
        raise SluiceError(
            f"{_URI} is sha256 {found}, and what was evaluated is {sha256}",
            remedy="another release has moved the alias, or the store is damaged: run it again",
        )
    return taken


def log_adapter(client: Any, experiment: str, adapter: Path, base: ModelSpec, sha256: str, run_id: str) -> str:
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model, infer_signature
    from mlflow.pyfunc import save_model

    source = {"source_run_id": run_id or None, "tags": {"sha256": sha256, "base_sha256": base.sha256}}
    logged = client.create_logged_model(experiment, name="adapter", model_type="adapter", **source)
    scheme = _OF_SCHEME.get(base.source.partition(":")[0])
    libraries = [*_SERVED_BY, *([scheme] if scheme else [])]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_json(folder / "base.json", base.model_dump(mode="json"))
        files = {"adapter": adapter, "base": folder / "base.json", "training": adapter.with_name("training.json")}
        save_model(
            str(folder / "model"),
            python_model=str(_SCRIPT),
            artifacts={name: str(path) for name, path in files.items() if path.is_file()},
            code_paths=[str(_copy_code(folder))],
            pip_requirements=[f"{name}=={version(name)}" for name in libraries],
            signature=infer_signature(_EXAMPLE, ["A release that few visitors get."], _DEFAULTS),
            input_example=_EXAMPLE,
            mlflow_model=Model(logged.artifact_location, run_id or None, model_id=logged.model_id),
        )
        client.log_model_artifacts(logged.model_id, str(folder / "model"))
    client.finalize_logged_model(logged.model_id, "READY")
    if run_id:
        client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, 0)])
    return f"models:/{logged.model_id}"


def _copy_code(folder: Path) -> Path:
    """Copy the modules that the script reaches, imports inside functions too, as a package of its own."""
    source = Path(sluice.__file__).parents[1]
    finder = ModuleFinder(path=[str(source)])
    finder.run_script(str(_SCRIPT))
    for name, module in finder.modules.items():
        file: str | None = getattr(module, "__file__", None)
        if file and name != "__main__":
            target = folder / Path(file).relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
    return folder / sluice.__name__


def model_card(workspace: Workspace, manifest: Manifest) -> str:
    """Return the model card of a release's adapter in Markdown, from MLflow's records."""
    if manifest.adapter is None:
        raise SluiceError(f"{manifest.id}: has no adapter, so there is no model to describe")
    judgement = load_judgement(workspace.releases / manifest.id)
    with open_registry(workspace) as client:
        run = client.get_run(run_id) if (run_id := finished_run(client, judgement)) else None
    if run is None:
        raise SluiceError(
            f"{manifest.id}: MLflow has no finished run of it",
            remedy="it is recorded when it is promoted: `make release`",
        )
    params, metrics, chat = run.data.params, run.data.metrics, manifest.models["chat"]
    evaluation = judgement.evaluation
    tuned = {name.removeprefix("training_"): params[name] for name in sorted(params) if name.startswith("training_")}
    made = {
        "base model": chat.source,
        "base sha256": chat.sha256,
        "base licence": chat.licence,
        "trained on sha256": tuned.pop("base_sha256", ""),
        "adapter sha256": manifest.adapter.sha256,
        "data": manifest.data.digest,
        "examples": tuned.pop("data_digest", ""),
        "commit": judgement.commit,
        "MLflow run": run.info.run_id,
    }
    number = run.data.tags.get("adapter_version", "")
    return "\n\n".join(
        [
            f"# {ADAPTER_MODEL}{f' version {number}' if number else ''}",
            f"Answers questions over the documents of release {manifest.id}, as an adapter of that base model alone.",
            "## Made of",
            _table(made),
            "## Training",
            _table(tuned),
            _table({name: _number(metrics[name]) for name in sorted(metrics) if name.startswith("train_")}),
            "## Evaluation",
            f"On the cases {evaluation.cases_digest[:12]}, which it never saw, through the whole application.",
            _table({n: _number(metrics[n]) for n in sorted(evaluation.metrics) if n in metrics}),
            "## Limits",
            "It learned to answer from the passages it is given and to decline where they say nothing. Without passages"
            " it knows no more than its base, and it shares the licence and the faults of that.\n",
        ]
    )


def _table(values: Mapping[str, Any]) -> str:
    rows = [f"| {name} | {value} |" for name, value in values.items() if value not in (None, "")]
    return "\n".join(["| what | value |", "|---|---|", *rows])


def _number(value: float) -> str:
    return f"{value:.4g}" if abs(value) < 10_000 else f"{value:.0f}"
