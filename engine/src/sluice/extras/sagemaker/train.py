"""Remote training: runs the SageMaker pipeline for the working tree and brings its result into this checkout.

A run is found by its recipe. Only a recipe that never ran, or whose last run failed, costs anything.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

from sluice.core.digests import digest_of_file
from sluice.core.errors import GateFailed, SluiceError
from sluice.core.params import load_params
from sluice.core.progress import PipelineProgress
from sluice.core.settings import load_settings
from sluice.core.workspace import Workspace
from sluice.extras.finetune.training_parameters import TrainingParameters, require_releasable
from sluice.extras.finetune.training_plan import plan, require_consistent
from sluice.extras.sagemaker import pipeline_runs, results, sources
from sluice.extras.sagemaker.aws_clients import AwsAccount, Say, remedy_for
from sluice.extras.sagemaker.pipeline_runs import AGAIN, Execution, ExecutionStep
from sluice.extras.sagemaker.settings import FILE, SageMakerSettings, require
from sluice.extras.sagemaker.sources import STAGES, recipe_of
from sluice.jobs.dvc_pipeline import EXPECTED, dvc, pull, reproduce
from sluice.release import champion
from sluice.release.environment_record import open_record

# The SDK has an environment of its own, beside the programs of this one: engine/docs/decisions/sagemaker-sdk.md.
SDK = Path(".venv") / "sagemaker" / "bin" / "python"
# GPUs of a machine by its size: EC2's pages on accelerated computing.
_SMALL = {"xlarge": 1, "2xlarge": 1, "4xlarge": 1, "8xlarge": 1, "16xlarge": 1, "12xlarge": 4, "24xlarge": 4}
_GPUS = {family: {**_SMALL, "48xlarge": 8} for family in ("g4dn", "g5", "g6", "g6e")}
_GPUS |= {"p3": {"2xlarge": 1, "8xlarge": 4, "16xlarge": 8}, "p4d": {"24xlarge": 8}, "p4de": {"24xlarge": 8}}
_GPUS |= {family: {"4xlarge": 1, "48xlarge": 8} for family in ("p5", "p5e", "p5en", "p6-b200", "p6-b300")}
_GPUS |= {"p6e-gb200": {"36xlarge": 4}, "p3dn": {"24xlarge": 8}}
_GPUS |= {family: {"2xlarge": 1, "4xlarge": 1, "8xlarge": 1, "48xlarge": 8} for family in ("g7", "g7e")}
_GPUS["g7e"] |= {"12xlarge": 2, "24xlarge": 4}
_WITHOUT_GPU = "cmrt"  # first letters of families


def train(workspace: Workspace, *, follow: bool, env: str = "", say: Say = print) -> Execution:
    """Start a run for this tree unless there is one; with `follow`, wait for it and take its result.

    `env`: the environment whose champion the gates compare with, this machine's if empty. Raises GateFailed if the
    gates failed: then adapter and figures are here all the same, and nothing was registered.
    """
    account = AwsAccount.open(require(workspace.config))
    with workspace.exclusive():
        pull(workspace)
        # Data that breaks its contract is refused here, where that costs nothing.
        reproduce(workspace, PipelineProgress(EXPECTED, workspace.state / "durations.json"), until="check")
    recipe = recipe_of(workspace, account.settings.image)
    earlier = pipeline_runs.find(account.sagemaker, account.settings.pipeline, recipe)
    run = earlier[0] if earlier else None
    # One that ended without a result or a verdict of the gates is started again.
    if run and not run.under_way and run.status != "Succeeded":
        run = run if _refused(pipeline_runs.steps_of(account.sagemaker, run.arn)) else None
    if run is None:
        run = _start(workspace, account, recipe, attempt=len(earlier), watched=follow, env=env, say=say)
        say(f"started   {run.arn}")
    else:
        say(f"found     {run.arn}: {run.status.lower()}")
    if follow:
        run, steps = pipeline_runs.follow(account, run.arn, say)
        _take(workspace, account, run, steps, recipe, say)
    return run


def _refused(steps: list[ExecutionStep]) -> ExecutionStep | None:
    return next((step for step in steps if step.name == pipeline_runs.REFUSED), None)


def _start(
    workspace: Workspace, account: AwsAccount, recipe: str, *, attempt: int, watched: bool, env: str, say: Say
) -> Execution:
    settings = account.settings
    params = load_params(workspace.params, "train", TrainingParameters)
    require_releasable(params)
    require_consistent(workspace, params)
    _require_processing(settings, account.sagemaker)
    _require_shareable(params, settings, say)
    if gpus_of(settings.jobs.train.instance_type):
        for line in plan(workspace, training_processes(workspace)):
            say(line)
    pipeline_runs.require_affordable(settings, say, watched=watched)
    live = champion.champion(workspace, open_record(workspace, env, os.environ))
    releases = workspace.releases
    sent = {
        "Checkout": (workspace.root, sources.code_of(workspace)),
        "Data": (workspace.root, workspace.data.rglob("*")),
        "Live": (releases, (releases / live.id).rglob("*") if live else ()),
    }
    given = {
        name: sources.send(account.s3, settings, base, files).removesuffix(f"/{sources.ARCHIVE}")  # a channel's folder
        for name, (base, files) in sent.items()
    }
    _upsert(workspace)
    given["Recipe"] = recipe[:32]
    return pipeline_runs.start(account.sagemaker, settings.pipeline, recipe, given, attempt=attempt)


def _require_processing(settings: SageMakerSettings, sagemaker: Any) -> None:
    """Refuse a machine that trains but takes no processing job, by the service's model; AWS would, after training."""
    model = sagemaker.meta.service_model
    trains, processes = (set(model.shape_for(f"{kind}InstanceType").enum) for kind in ("Training", "Processing"))
    for step in ("process", "evaluate"):
        if (machine := getattr(settings.jobs, step).instance_type) in trains - processes:
            remedy = "name one that processes too, of g5, g6, g6e or g7e; nothing was started"
            raise SluiceError(f"config/sagemaker.yaml: jobs.{step}: {machine} takes training jobs alone", remedy=remedy)


def _require_shareable(params: TrainingParameters, settings: SageMakerSettings, say: Say) -> None:
    """Refuse a batch that the processes can't share; training would fail after its machines are paid for."""
    job = settings.jobs.train
    if not job.processes and gpus_of(job.instance_type) is None:
        say(f"not known  how many GPUs {job.instance_type} has: batch × accumulate must be a multiple of all of them")
        return
    world = _processes(settings)
    if params.examples_a_step % world:
        raise SluiceError(
            f"pipelines/params.yaml: train.batch × train.accumulate is {params.examples_a_step}, and {job.instances} ×"
            f" {job.instance_type} train with {world} processes, which cannot share them",
            remedy=f"make it a multiple of {world}, or set jobs.train.processes in config/sagemaker.yaml; nothing was"
            " started",
        )


def training_processes(workspace: Workspace) -> int:
    """Return how many processes train on the machines of config/sagemaker.yaml."""
    return _processes(load_settings(workspace.config / FILE, SageMakerSettings))


def _processes(settings: SageMakerSettings) -> int:
    job = settings.jobs.train
    return job.instances * (job.processes or gpus_of(job.instance_type) or 1)


def gpus_of(instance_type: str) -> int | None:
    """Return the number of GPUs of an instance type; None if it is not known."""
    family, _, size = instance_type.removeprefix("ml.").partition(".")
    if family in _GPUS:
        return _GPUS[family].get(size)
    return 0 if family[0] in _WITHOUT_GPU and not family.startswith("trn") else None


def _upsert(workspace: Workspace) -> None:
    """Create or update the pipeline by pipelines/sagemaker.py, with the SDK."""
    python = workspace.root / SDK
    if not python.exists():
        raise SluiceError(f"{python}: the SDK of SageMaker is not installed", remedy="`make sagemaker` installs it")
    # -P: the file has the name of the SDK, which would be looked for beside it first.
    script = workspace.root / "pipelines" / "sagemaker.py"
    argv: list[str | Path] = [python, "-P", script, "--upsert", "--config", workspace.config]
    env = {**os.environ, "PYTHONPATH": workspace.code}
    done = subprocess.run(argv, env=env, cwd=workspace.root, capture_output=True, text=True, check=False)
    if done.returncode:
        # Its own error, or the last line of a trace of the SDK.
        _, _, own = done.stderr.rpartition("error: ")
        what, _, remedy = own.strip().partition("\n  -> ")
        raise SluiceError(
            f"the pipeline could not be made: {what if remedy else (what.splitlines() or ['no reason given'])[-1]}",
            remedy=remedy
            or "engine/docs/reference/sagemaker.md has the set-up; `sluice doctor aws` looks at the account",
        )


def _take(
    workspace: Workspace, account: AwsAccount, run: Execution, steps: list[ExecutionStep], recipe: str, say: Say
) -> None:
    """Bring the result of a run into DVC, MLflow and the model registry; then raise its failure, if any."""
    refused = _refused(steps)
    if run.status != "Succeeded" and refused is None:
        raise _failure(run, steps)
    billed = pipeline_runs.billed(account.sagemaker, steps)
    spent = pipeline_runs.used(account.settings, billed)
    say(f"cost      ${spent:.2f}, of {sum(seconds for _, seconds in billed) / 60:.0f} billed minutes")
    with workspace.exclusive():
        if recipe_of(workspace, account.settings.image) != recipe:
            raise SluiceError(
                f"{run.arn}: this tree is no longer what it was trained from",
                remedy="go back to what it was (git stash) and run the same command, or train what is here",
            )
        found = results.bring(workspace, account, run, steps)
        _commit_stages(workspace)
    adapter = workspace.build / "adapter" / "adapter.gguf"
    say(f"adapter   {adapter}")
    sha256 = digest_of_file(adapter)
    package = next((step.job for step in steps if ":model-package/" in step.job), "")
    if package:
        results.name_adapter(account.sagemaker, package, sha256)
        say(f"package   {package}: waits for its approval")
    tags = {"execution": run.arn, "recipe": recipe, "adapter_sha256": sha256, "model_package": package}
    results.record(workspace, found, tags, spent, account.settings)
    if refused is not None:
        raise GateFailed(
            f"{run.arn}: {refused.reason or 'refused by the gates'}",
            remedy="nothing was registered; adapter and figures are here: `sluice release make` shows the cases",
        )


def _failure(run: Execution, steps: list[ExecutionStep]) -> SluiceError:
    failed = next((step for step in steps if step.status == "Failed"), None)
    if failed is None:
        return SluiceError(
            f"{run.arn}: {run.status.lower()}{f': {run.reason}' if run.reason else ''}",
            remedy=f"the same command starts it again; {AGAIN}",
        )
    reason = failed.reason or run.reason or "no reason given"
    remedy = remedy_for(reason, f"its log above says more; fix it and run the same command: {AGAIN}")
    return SluiceError(f"{run.arn}: step {failed.name} failed: {reason}", remedy=remedy)


def _commit_stages(workspace: Workspace) -> None:
    """Tell DVC that build/ is up to date, though it didn't run the stages."""
    done, words = dvc(workspace, "commit", "--force", *(f"pipelines/dvc.yaml:{stage}" for stage in STAGES))
    if not done:
        raise SluiceError(f"dvc could not take what was made:\n{words}", remedy="fix that and run it again")
