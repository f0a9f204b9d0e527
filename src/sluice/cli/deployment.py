"""`sluice deploy` and `sluice rollback`: a release in a cluster."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated

import typer

from sluice.cli.common import find_release
from sluice.core.errors import CanaryStopped, GateFailed, SluiceError
from sluice.core.workspace import Workspace

Environment = Annotated[str, typer.Option("--env", help="A folder of k8s/overlays/.")]
Context = Annotated[str, typer.Option(help="Context in the kubeconfig; default: its current one.")]
Timeout = Annotated[str, typer.Option(help="The most time for all of it, such as 30m or 2h.")]


def deploy(
    env: Environment,
    release: Annotated[str, typer.Option(help="Release id; default: the champion.")] = "",
    image: Annotated[str, typer.Option(help="REPOSITORY@sha256:DIGEST; default: that of the overlay.")] = "",
    load_image: Annotated[str, typer.Option(help="The same, of the image that judges the canary.")] = "",
    context: Context = "",
    timeout: Timeout = "2h",
    retry: Annotated[bool, typer.Option("--retry", help="Begin again with a release that was stopped.")] = False,
) -> None:
    """Bring a release into a cluster and watch it: promoted (exit code 0), or stopped or failed (1).

    Ctrl-C stops the watching, not the rollout; the same command watches it again."""
    from sluice.forge.job_summary import write_job_summary
    from sluice.rollout.cluster import Cluster
    from sluice.rollout.deploy import deploy as deploy_release
    from sluice.rollout.released import render_release
    from sluice.rollout.templates import parse_duration
    from sluice.rollout.watch import Patience

    workspace = Workspace.find()
    manifest, _ = find_release(workspace, release)
    if refused := [verdict.gate for verdict in manifest.gates if not verdict.passed]:
        raise GateFailed(f"{manifest.id} was refused by {', '.join(refused)}", remedy="deploy one that passed")
    seconds = _seconds(timeout, parse_duration)
    documents = render_release(workspace, env, manifest, image, load_image)
    cluster = Cluster(workspace.state, context=context)
    with _interruptible(f"sluice deploy --env {env} --release {manifest.id}", env):
        done = deploy_release(cluster, documents, show=_show, seconds=seconds, patience=Patience(), retry=retry)
    write_job_summary(done.markdown(env), os.environ)
    for line in done.logs:
        print(line)
    if done.passed:
        print(f"{done.release} is live in {env}" + ("; nothing changed" if done.kind == "unchanged" else ""))
        return
    raise CanaryStopped(
        f"{done.release} {'was stopped' if done.kind == 'stopped' else 'failed'} in {env}\n"
        + "\n".join(f"  {reason}" for reason in done.reasons),
        remedy=f"what was live stays live; `sluice rollback --env {env}` also takes the release out of the Rollout",
    )


def rollback(
    env: Environment,
    release: Annotated[str, typer.Option(help="Release id; default: stable, or the one before it.")] = "",
    context: Context = "",
    timeout: Timeout = "30m",
) -> None:
    """Take a cluster back to an earlier release that it still holds, without canary steps."""
    from sluice.rollout.cluster import Cluster
    from sluice.rollout.released import place_of_rollout
    from sluice.rollout.rollback import rollback as go_back
    from sluice.rollout.templates import parse_duration
    from sluice.rollout.watch import Patience

    workspace = Workspace.find()
    seconds = _seconds(timeout, parse_duration)
    namespace, name = place_of_rollout(workspace, env)
    cluster = Cluster(workspace.state, context=context)
    with _interruptible(f"sluice rollback --env {env}", env):
        live, ended = go_back(
            cluster, namespace, name, release=release, show=_show, seconds=seconds, patience=Patience()
        )
    if ended is None:
        print(f"{live} is live in {env} already; nothing changed")
    elif ended.kind == "promoted":
        print(f"{live} is live in {env} again")
    else:
        reasons = "\n".join(f"  {reason}" for reason in ended.reasons)
        raise CanaryStopped(f"{live} did not come back in {env}: {ended.kind}\n{reasons}", remedy="look at its pods")


@contextmanager
def _interruptible(again: str, env: str) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        print("what was applied stays, and the rollout goes on", file=sys.stderr)
        print(f"  -> watch it again: {again}\n  -> abort it: sluice rollback --env {env}", file=sys.stderr)
        raise


def _show(line: str) -> None:
    print(f"{datetime.now():%H:%M:%S}  {line}", flush=True)


def _seconds(text: str, parse: Callable[[str], float]) -> float:
    try:
        return parse(text)
    except ValueError as error:
        raise SluiceError(f"--timeout: {error}", remedy="write it as 90s, 30m or 2h") from None
