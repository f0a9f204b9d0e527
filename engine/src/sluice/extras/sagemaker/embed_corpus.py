"""Embeds a large corpus on several SageMaker machines, and builds and loads the index from their vectors.

A job is identified by its recipe: the same command resumes a job that was started before, here or on another machine,
and takes the vectors of a finished one. Only new texts cost anything. Nothing is loaded before all shards are complete;
the index is then built and loaded as `sluice index build --from` does.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable

from sluice.core.errors import SluiceError
from sluice.core.settings import load_settings
from sluice.core.workspace import Workspace
from sluice.extras.sagemaker import follow_run, run_cost, source_archives
from sluice.extras.sagemaker.account import AwsAccount
from sluice.extras.sagemaker.aws_clients import remedy_for
from sluice.extras.sagemaker.processing_jobs import SCRIPT, STEP, EmbeddingRun, ProcessingJob
from sluice.extras.sagemaker.recipe import recipe_of
from sluice.extras.sagemaker.run_results import download
from sluice.extras.sagemaker.settings import MOST_MACHINES, JobSettings, require
from sluice.retrieval.index_stage import IndexBuild, count_chunks, run
from sluice.retrieval.stores import Stores

_STAGES = ("index",)
_AGAIN = "what is embedded already is not embedded again"
Say = Callable[[str], None]


def build(
    workspace: Workspace,
    *,
    workers: int = 0,
    follow: bool,
    store: str = "",
    env: str = "",
    tenant: str = "",
    say: Say = print,
) -> IndexBuild | None:
    """Starts a job for this tree unless there is one; with `follow` waits for it, makes build/index of its vectors and
    loads the collection into the store. None without `follow`. `workers`: 0 for those of config/sagemaker.yaml.

    SluiceError when a machine failed, when the budget was used up, when AWS refused or the tree has changed meanwhile:
    then build/ and the store are as they were. An interrupted job goes on without its watcher."""
    settings = require(workspace.config)
    spec = settings.embedding()
    workers = workers or spec.instances
    if workers > MOST_MACHINES:
        raise SluiceError(f"--workers {workers}: SageMaker gives a job at most {MOST_MACHINES}", remedy="take fewer")
    # A store that is misspelt would be found out after everything was paid.
    load_settings(workspace.config / "stores.yaml", Stores).using(store=store, env=env, tenant=tenant)
    recipe = recipe_of(workspace, settings.image, _STAGES)
    embedding = EmbeddingRun(AwsAccount.open(settings), spec, recipe, workers)
    machines = spec.job(chunks=count_chunks(workspace), workers=workers)
    attempt = _picked_up(embedding, say) or _start(workspace, embedding, machines, watched=follow, say=say)
    if not follow:
        return None
    _follow(embedding, attempt, machines, say)
    if recipe_of(workspace, settings.image, _STAGES) != recipe:
        raise SluiceError(
            f"{attempt.name}: this tree is no longer what was embedded",
            remedy="go back to what it was (git stash) and run the same command, or embed what is here",
        )
    return _load(workspace, embedding, attempt, store=store, env=env, tenant=tenant)


def _picked_up(embedding: EmbeddingRun, say: Say) -> ProcessingJob | None:
    """The newest job, while it runs and when it has left all that it was to leave."""
    earlier = embedding.attempts()
    if not earlier:
        return None
    run, _ = earlier[-1].look()
    if not run.under_way and (run.status != "Succeeded" or embedding.missing()):
        return None
    say(f"found     {run.arn}: {run.status.lower()}")
    return earlier[-1]


def _start(
    workspace: Workspace, embedding: EmbeddingRun, machines: JobSettings, *, watched: bool, say: Say
) -> ProcessingJob:
    account = embedding.account
    estimate = run_cost.estimate(account.settings, {STEP: machines})
    for line in estimate.lines():
        say(line)
    estimate.require(watched=watched)
    channels = {
        "code": source_archives.send_file(account.s3, account.settings, workspace.root / SCRIPT),
        "checkout": source_archives.send(
            account.s3, account.settings, workspace.root, source_archives.code_of(workspace)
        ),
        "data": source_archives.send(
            account.s3, account.settings, workspace.root, (workspace.data / "corpus").rglob("*")
        ),
    }
    attempt = embedding.start(len(embedding.attempts()), machines, channels)
    say(f"started   {attempt.name}, {machines.instances} machines")
    return attempt


def _follow(embedding: EmbeddingRun, attempt: ProcessingJob, machines: JobSettings, say: Say) -> None:
    """Until all shards are in the bucket; SluiceError when they will not be."""
    account = embedding.account
    run, steps = follow_run.follow(account.logs, account.settings, attempt, {STEP: machines}, say, again=_AGAIN)
    if run.status != "Succeeded":
        reason = run.reason or "no reason given"
        raise SluiceError(
            f"{attempt.name}: {run.status.lower()}, nothing was loaded: {reason}", remedy=remedy_for(reason, _AGAIN)
        )
    if missing := embedding.missing():
        raise SluiceError(
            f"{attempt.name}: has ended, but of {embedding.workers} shards these are not whole:"
            f" {', '.join(map(str, missing))}; nothing was loaded",
            remedy=f"run the same command: {_AGAIN}",
        )
    billed = follow_run.billed(account.sagemaker, steps)
    spent = run_cost.used(account.settings, {STEP: machines}, billed)
    minutes = sum(seconds for _, seconds in billed) / 60
    say(f"cost      ${spent:.2f}, of {minutes:.0f} billed minutes on each of {machines.instances} machines")


def _load(
    workspace: Workspace, embedding: EmbeddingRun, attempt: ProcessingJob, *, store: str, env: str, tenant: str
) -> IndexBuild:
    folder = workspace.state / "sagemaker" / attempt.name
    if not folder.is_dir():  # else all is here since a call that could not load it
        draft = folder.with_name(f".{folder.name}.draft")
        shutil.rmtree(draft, ignore_errors=True)
        download(embedding.account.s3, f"{embedding.place}/", draft)
        draft.rename(folder)
    built = run(workspace, store=store, env=env, tenant=tenant, shards=[folder])
    shutil.rmtree(folder)  # .sluice/vectors has them now
    return built
