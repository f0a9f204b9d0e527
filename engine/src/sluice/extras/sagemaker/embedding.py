"""Embedding a large corpus on many machines of SageMaker, and the index of their vectors in a store of this project.

A job is known by its recipe: the same command picks up one that was started before, here or on another machine, and
takes the vectors of one that has ended. Only what was never embedded costs anything. Nothing is loaded before all
shards are here; the index is made of them, and loaded, as `sluice index build --from` does it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable

from sluice.core.errors import SluiceError
from sluice.core.settings import load_settings
from sluice.core.workspace import Workspace
from sluice.extras.sagemaker import cost, watch
from sluice.extras.sagemaker import source_archives as parcels
from sluice.extras.sagemaker.account import Account
from sluice.extras.sagemaker.aws import remedy_for
from sluice.extras.sagemaker.processing import SCRIPT, STEP, Attempt, Embedding
from sluice.extras.sagemaker.recipe import recipe_of
from sluice.extras.sagemaker.results import download
from sluice.extras.sagemaker.settings import MOST_MACHINES, Job, require
from sluice.retrieval.stage import Built, count_chunks, run
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
) -> Built | None:
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
    embedding = Embedding(Account.open(settings), spec, recipe, workers)
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


def _picked_up(embedding: Embedding, say: Say) -> Attempt | None:
    """The newest job, while it runs and when it has left all that it was to leave."""
    earlier = embedding.attempts()
    if not earlier:
        return None
    run, _ = earlier[-1].look()
    if not run.under_way and (run.status != "Succeeded" or embedding.missing()):
        return None
    say(f"found     {run.arn}: {run.status.lower()}")
    return earlier[-1]


def _start(workspace: Workspace, embedding: Embedding, machines: Job, *, watched: bool, say: Say) -> Attempt:
    account = embedding.account
    estimate = cost.estimate(account.settings, {STEP: machines})
    for line in estimate.lines():
        say(line)
    estimate.require(watched=watched)
    channels = {
        "code": parcels.send_file(account.s3, account.settings, workspace.root / SCRIPT),
        "checkout": parcels.send(account.s3, account.settings, workspace.root, parcels.code_of(workspace)),
        "data": parcels.send(account.s3, account.settings, workspace.root, (workspace.data / "corpus").rglob("*")),
    }
    attempt = embedding.start(len(embedding.attempts()), machines, channels)
    say(f"started   {attempt.name}, {machines.instances} machines")
    return attempt


def _follow(embedding: Embedding, attempt: Attempt, machines: Job, say: Say) -> None:
    """Until all shards are in the bucket; SluiceError when they will not be."""
    account = embedding.account
    run, steps = watch.follow(account.logs, account.settings, attempt, {STEP: machines}, say, again=_AGAIN)
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
    billed = watch.billed(account.sagemaker, steps)
    spent = cost.used(account.settings, {STEP: machines}, billed)
    minutes = sum(seconds for _, seconds in billed) / 60
    say(f"cost      ${spent:.2f}, of {minutes:.0f} billed minutes on each of {machines.instances} machines")


def _load(workspace: Workspace, embedding: Embedding, attempt: Attempt, *, store: str, env: str, tenant: str) -> Built:
    folder = workspace.state / "sagemaker" / attempt.name
    if not folder.is_dir():  # else all is here since a call that could not load it
        draft = folder.with_name(f".{folder.name}.draft")
        shutil.rmtree(draft, ignore_errors=True)
        download(embedding.account.s3, f"{embedding.place}/", draft)
        draft.rename(folder)
    built = run(workspace, store=store, env=env, tenant=tenant, shards=[folder])
    shutil.rmtree(folder)  # .sluice/vectors has them now
    return built
