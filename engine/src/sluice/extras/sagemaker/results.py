"""Results of a run: files for build/, a run in MLflow, and a model package in SageMaker's registry.

The approval of an adapter's package follows MLflow's alias; the sha256 of the adapter links the two.
"""

from __future__ import annotations

import shutil
import tarfile
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sluice.core.atomic_files import read_json
from sluice.core.errors import SluiceError
from sluice.core.tracking import log_values, open_tracking
from sluice.core.workspace import Workspace
from sluice.extras.sagemaker.aws_clients import AwsAccount, asking, client
from sluice.extras.sagemaker.pipeline_runs import Execution, ExecutionStep
from sluice.extras.sagemaker.settings import SageMakerSettings, read
from sluice.extras.sagemaker.sources import send
from sluice.release.manifest import Manifest

EXPERIMENT = "training"
_KEY = "adapter_sha256"


def bring(workspace: Workspace, account: AwsAccount, run: Execution, steps: list[ExecutionStep]) -> Path:
    """Download the results of a run and copy index and adapter into build/, which stays as it was if one is missing.

    Evaluation and gates stay in the folder returned, for the stage evaluate runs here anyway.
    """
    sagemaker, s3 = account.sagemaker, account.s3
    folder = workspace.state / "sagemaker" / run.id
    draft = folder.with_name(f".{run.id}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    jobs = {step.name: step.job_name for step in steps}
    for step in ("Process", "Evaluate"):
        with asking(jobs[step]):
            outputs = sagemaker.describe_processing_job(ProcessingJobName=jobs[step])["ProcessingOutputConfig"]
        for output in outputs["Outputs"]:
            download(s3, output["S3Output"]["S3Uri"], draft / output["OutputName"])
    with asking(jobs["Train"]):
        model = sagemaker.describe_training_job(TrainingJobName=jobs["Train"])["ModelArtifacts"]["S3ModelArtifacts"]
    download(s3, model, draft)
    unpack(draft / Path(model).name, draft / "adapter")
    for name in ("index/index.json", "adapter/adapter.gguf", "adapter/training.json"):
        if not (draft / name).is_file():
            raise SluiceError(f"{run.id}: made no {name}", remedy="its log says why; start it again when that is fixed")
    shutil.rmtree(folder, ignore_errors=True)
    draft.rename(folder)
    for name in ("index", "adapter"):
        target = workspace.build / name
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(folder / name, target)
    return folder


def download(s3: Any, uri: str, folder: Path) -> None:
    """Download all objects below an address, or the one that it names."""
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


def unpack(archive: Path, folder: Path) -> None:
    try:
        with tarfile.open(archive) as content:
            content.extractall(folder, filter="data")
    except (OSError, tarfile.TarError) as error:
        raise SluiceError(f"{archive.name}: not an archive of an adapter: {error}") from None
    archive.unlink()


def record(
    workspace: Workspace, found: Path, tags: Mapping[str, str], spent: float, settings: SageMakerSettings
) -> None:
    """Log parameters, loss, figures and cost as one run of MLflow, unless that is there."""
    client, experiment = open_tracking(workspace, EXPERIMENT)
    for earlier in client.search_runs([experiment], f"tags.execution = '{tags['execution']}'"):
        if earlier.info.status == "FINISHED":
            return
        client.delete_run(earlier.info.run_id)  # its process was killed
    adapter, evaluated, gates = found / "adapter", found / "evaluation" / "metrics.json", found / "gates" / "gates.json"
    training = read_json(adapter / "training.json")
    figures = read_json(evaluated) if evaluated.is_file() else {}
    run = str(client.create_run(experiment, run_name=tags["execution"].rpartition("/")[2], tags=dict(tags)).info.run_id)
    metrics = [("train_loss", value, step) for step, value in training.get("loss", [])]
    numbers = {name: value for name, value in training.items() if isinstance(value, (int, float))}
    values = {f"train_{name}": value for name, value in numbers.items()} | figures | {"cost_usd": spent}
    metrics += [(name, float(value), 0) for name, value in values.items() if value is not None]
    machines = {"instance_type": settings.jobs.train.instance_type, "instances": settings.jobs.train.instances}
    params = {**training.get("parameters", {}), **machines, "base_sha256": training.get("base_sha256", "")}
    log_values(client, run, metrics, {name: str(value) for name, value in params.items()})
    client.log_artifacts(run, str(adapter), "adapter")
    if gates.is_file():
        client.log_artifact(run, str(gates))
    client.set_terminated(run)


def name_adapter(sagemaker: Any, package: str, sha256: str) -> None:
    with asking(package):
        sagemaker.update_model_package(ModelPackageArn=package, CustomerMetadataProperties={_KEY: sha256})


def follow_champion(config: Path) -> Callable[[Manifest, bool, str], None] | None:
    """Return the function that approves or rejects a release's packages; None if SageMaker isn't set up."""
    settings = read(config)
    if settings is None or settings.missing():
        return None

    def follow(manifest: Manifest, approved: bool, why: str) -> None:
        if manifest.adapter is None:
            return
        approval, description = "Approved" if approved else "Rejected", f"{manifest.id}: {why}"[:1024]
        sagemaker = client("sagemaker", settings.region)
        # An adapter that was trained elsewhere has no package.
        for package in _packages_of(sagemaker, settings.model_package_group, manifest.adapter.sha256):
            arn = package["ModelPackageArn"]
            if package["ModelApprovalStatus"] != approval:
                with asking(arn):
                    sagemaker.update_model_package(
                        ModelPackageArn=arn, ModelApprovalStatus=approval, ApprovalDescription=description
                    )

    return follow


def newest_approved(sagemaker: Any, group: str) -> dict[str, Any]:
    """Return the description of the package that was approved last."""
    with asking(group):
        listed = sagemaker.list_model_packages(
            ModelPackageGroupName=group,
            ModelApprovalStatus="Approved",
            SortBy="CreationTime",
            SortOrder="Descending",
            MaxResults=1,
        )["ModelPackageSummaryList"]
        if not listed:
            remedy = "promote a release that was trained there: its package is approved with it"
            raise SluiceError(f"{group}: no package is approved", remedy=remedy)
        found: dict[str, Any] = sagemaker.describe_model_package(ModelPackageName=listed[0]["ModelPackageArn"])
        return found


def send_peft(s3: Any, settings: SageMakerSettings, package: dict[str, Any]) -> str:
    """Put the PEFT adapter of a package into the bucket as an archive of its own; return its address."""
    (container,) = package["InferenceSpecification"]["Containers"]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        download(s3, container["ModelDataUrl"], folder)
        unpack(folder / Path(container["ModelDataUrl"]).name, folder / "model")
        peft = folder / "model" / "peft"
        if not (peft / "adapter_config.json").is_file():
            raise SluiceError(
                f"{package['ModelPackageArn']}: has no PEFT adapter, which is what a GPU serves",
                remedy="train with `exports: [gguf, peft]` in pipelines/params.yaml, and promote that",
            )
        return send(s3, settings, peft, peft.rglob("*"), "adapters/{digest}.tar.gz")


def _packages_of(sagemaker: Any, group: str, sha256: str) -> list[dict[str, Any]]:
    from botocore.exceptions import ClientError

    with asking(group):
        try:
            pages = [*sagemaker.get_paginator("list_model_packages").paginate(ModelPackageGroupName=group)]
        except ClientError as error:  # the first run that passes its gates makes the group
            if "does not exist" in str(error):
                return []
            raise
        arns = [one["ModelPackageArn"] for page in pages for one in page["ModelPackageSummaryList"]]
        packages = [sagemaker.describe_model_package(ModelPackageName=arn) for arn in arns]
    return [one for one in packages if one.get("CustomerMetadataProperties", {}).get(_KEY) == sha256]
