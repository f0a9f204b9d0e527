"""Downloads the results of a run from the bucket into build/ and MLflow."""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sluice.core.atomic_files import read_json
from sluice.core.errors import SluiceError
from sluice.core.tracking import open_tracking
from sluice.core.workspace import Workspace
from sluice.extras.sagemaker.aws_clients import asking
from sluice.extras.sagemaker.executions import ExecutionStep
from sluice.extras.sagemaker.settings import SageMakerSettings

EXPERIMENT = "training"
# Folders of build/ that are taken.
BUILT = ("index", "adapter")


@dataclass(frozen=True)
class RunResults:
    """`adapter`: in build/; `evaluation` and `gates` stay beside it under .sluice/: the stage evaluate asks its
    questions here, where it asked them of what is live."""

    adapter: Path
    evaluation: Path
    gates: Path


def bring(workspace: Workspace, sagemaker: Any, s3: Any, run: str, steps: list[ExecutionStep]) -> RunResults:
    """Downloads what the steps of a run made, then puts it into build/; a run that was cut off begins again.

    SluiceError when something is missing: build/ then is as it was.
    """
    folder = workspace.state / "sagemaker" / run
    draft = folder.with_name(f".{run}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    jobs = {step.name: step.job_name for step in steps}
    for step in ("Process", "Evaluate"):
        with asking(jobs[step]):
            outputs = sagemaker.describe_processing_job(ProcessingJobName=jobs[step])["ProcessingOutputConfig"]
        for output in outputs["Outputs"]:
            _download(s3, output["S3Output"]["S3Uri"], draft / output["OutputName"])
    with asking(jobs["Train"]):
        model = sagemaker.describe_training_job(TrainingJobName=jobs["Train"])["ModelArtifacts"]["S3ModelArtifacts"]
    _download(s3, model, draft)
    _unpack(draft / Path(model).name, draft / "adapter")
    for name in ("index/index.json", "adapter/adapter.gguf", "adapter/training.json"):
        if not (draft / name).is_file():
            raise SluiceError(f"{run}: made no {name}", remedy="its log says why; start it again when that is fixed")
    shutil.rmtree(folder, ignore_errors=True)
    draft.rename(folder)
    for name in BUILT:
        target = workspace.build / name
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(folder / name, target)
    return RunResults(
        workspace.build / "adapter" / "adapter.gguf", folder / "evaluation", folder / "gates" / "gates.json"
    )


def _download(s3: Any, uri: str, folder: Path) -> None:
    """All objects below an address, or the one that it names."""
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    with asking(uri):
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        keys = [one["Key"] for page in pages for one in page.get("Contents", ())]
        for key in keys:
            below = key.removeprefix(prefix).lstrip("/")
            path = folder / (below or Path(key).name)
            if not path.resolve().is_relative_to(folder.resolve()):
                raise SluiceError(f"s3://{bucket}/{key}: leads out of its folder")
            path.parent.mkdir(parents=True, exist_ok=True)
            s3.download_file(bucket, key, str(path))
    if not keys:
        raise SluiceError(f"{uri}: there is nothing", remedy="it may have been deleted; start the run again")


def _unpack(archive: Path, folder: Path) -> None:
    try:
        with tarfile.open(archive) as content:
            content.extractall(folder, filter="data")
    except (OSError, tarfile.TarError) as error:
        raise SluiceError(f"{archive.name}: not an archive of an adapter: {error}") from None
    archive.unlink()


def record(
    workspace: Workspace, found: RunResults, tags: Mapping[str, str], spent: float, settings: SageMakerSettings
) -> None:
    """One run of MLflow for each run of the pipeline: parameters, loss, figures, cost. Made once."""
    client, experiment = open_tracking(workspace, EXPERIMENT)
    from mlflow.entities import Metric, Param

    for earlier in client.search_runs([experiment], f"tags.execution = '{tags['execution']}'"):
        if earlier.info.status == "FINISHED":
            return
        client.delete_run(earlier.info.run_id)  # of a process that was killed
    training = read_json(found.adapter.with_name("training.json"))
    figures = read_json(found.evaluation / "metrics.json") if (found.evaluation / "metrics.json").is_file() else {}
    run = str(client.create_run(experiment, run_name=tags["execution"].rpartition("/")[2], tags=dict(tags)).info.run_id)
    metrics = [Metric("train_loss", value, 0, step) for step, value in training.get("loss", [])]
    numbers = {name: value for name, value in training.items() if isinstance(value, (int, float))}
    values = {f"train_{name}": value for name, value in numbers.items()} | figures | {"cost_usd": spent}
    metrics += [Metric(name, float(value), 0, 0) for name, value in values.items() if value is not None]
    machines = {"instance_type": settings.jobs.train.instance_type, "instances": settings.jobs.train.instances}
    params = {**training.get("parameters", {}), **machines, "base_sha256": training.get("base_sha256", "")}
    client.log_batch(run, metrics=metrics, params=[Param(name, str(value)) for name, value in params.items()])
    client.log_artifacts(run, str(found.adapter.parent), "adapter")
    if found.gates.is_file():
        client.log_artifact(run, str(found.gates))
    client.set_terminated(run)
