"""`sluice deploy` and `sluice rollback`: a release in a cluster."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated

import typer

from sluice.cli.common import find_release, record_of, set_outputs
from sluice.core.errors import CanaryStopped, GateFailed, SluiceError
from sluice.core.workspace import Workspace

Environment = Annotated[str, typer.Option("--env", help="A folder of k8s/overlays/.")]
Context = Annotated[str, typer.Option(help="Context in the kubeconfig; default: its current one.")]
Timeout = Annotated[str, typer.Option(help="The most time for all of it, such as 30m or 2h.")]


def deploy(
    env: Environment,
    release: Annotated[str, typer.Option(help="Release id; default: the champion.")] = "",
    image: Annotated[
        str, typer.Option(help="REPOSITORY@sha256:DIGEST; default: the release's, else that of the overlay.")
    ] = "",
    load_image: Annotated[str, typer.Option(help="The same, of the image that judges the canary.")] = "",
    context: Context = "",
    timeout: Timeout = "2h",
    retry: Annotated[bool, typer.Option("--retry", help="Begin again with a release that was stopped.")] = False,
    over_dead_stable: Annotated[
        bool, typer.Option("--over-dead-stable", help="Without steps, where no pod of what is live is available.")
    ] = False,
) -> None:
    """Bring a release into a cluster and watch it: promoted (exit code 0), or stopped or failed (1).

    Ctrl-C stops the watching, not the rollout; the same command watches it again. Output on GitHub: `reason`, when it
    does not become live."""
    from sluice.cluster.deploy_release import deploy as deploy_release
    from sluice.cluster.kubectl import Cluster
    from sluice.cluster.release_overlay import render_release
    from sluice.cluster.rollout_observer import WatchTimeouts
    from sluice.github.job_summary import write_job_summary
    from sluice.rollout.analysis_templates import parse_duration

    workspace = Workspace.find()
    manifest, _ = find_release(workspace, release, _recorded(env))
    if refused := [verdict.gate for verdict in manifest.gates if not verdict.passed]:
        raise GateFailed(f"{manifest.id} was refused by {', '.join(refused)}", remedy="deploy one that passed")
    _agreed(workspace, env)
    seconds = _seconds(timeout, parse_duration)
    documents = render_release(
        workspace, env, manifest, image or manifest.image or "", load_image or manifest.load_image or ""
    )
    cluster = Cluster(workspace.state, context=context)
    with _interruptible(f"sluice deploy --env {env} --release {manifest.id}", env):
        done = deploy_release(
            cluster,
            documents,
            show=_show,
            seconds=seconds,
            patience=WatchTimeouts(),
            retry=retry,
            over_dead_stable=over_dead_stable,
        )
    write_job_summary(done.markdown(env), os.environ)
    for line in done.logs:
        print(line)
    if done.passed:
        print(f"{done.release} is live in {env}" + ("; nothing changed" if done.kind == "unchanged" else ""))
        return
    set_outputs({"reason": " ".join(f"{env}: {'; '.join(done.reasons)}".split())})
    kept = f"what was live stays live; `sluice rollback --env {env}` also takes the release out of the Rollout"
    raise CanaryStopped(
        f"{done.release} {'was stopped' if done.kind == 'stopped' else 'failed'} in {env}\n"
        + "\n".join(f"  {reason}" for reason in done.reasons),
        remedy="nothing else was live: mend it and deploy again" if done.first else kept,
    )


def rollback(
    env: Environment,
    release: Annotated[
        str, typer.Argument(help="Release id, or `previous`: stable when another is under way, else the one before.")
    ] = "previous",
    context: Context = "",
    timeout: Timeout = "30m",
) -> None:
    """Take a cluster back to an earlier release that it still holds, without canary steps, and the record with it.

    The record is that in the artifact store of SLUICE_ARTEFACTS; without one, only the cluster is rolled back."""
    from sluice.cluster.kubectl import Cluster
    from sluice.cluster.release_overlay import place_of_rollout
    from sluice.cluster.rollback import rollback as roll_back
    from sluice.cluster.rollout_observer import WatchTimeouts
    from sluice.release.champion import restore
    from sluice.rollout.analysis_templates import parse_duration

    workspace = Workspace.find()
    _agreed(workspace, env)
    seconds = _seconds(timeout, parse_duration)
    namespace, name = place_of_rollout(workspace, env)
    cluster = Cluster(workspace.state, context=context)
    chosen = {"before": _before(workspace, env)} if release == "previous" else {"release": release}
    with _interruptible(f"sluice rollback {release} --env {env}", env):
        live, ended = roll_back(
            cluster, namespace, name, **chosen, show=_show, seconds=seconds, patience=WatchTimeouts()
        )
    if ended is not None and ended.kind != "promoted":
        reasons = "\n".join(f"  {reason}" for reason in ended.reasons)
        raise CanaryStopped(f"{live} did not come back in {env}: {ended.kind}\n{reasons}", remedy="look at its pods")
    print(f"{live} is live in {env} " + ("again" if ended else "already; nothing changed"))
    if _recorded(env) and live.startswith("r-"):  # a revision that was not deployed by us has no name
        print(restore(workspace, record_of(workspace, env), live))


def _recorded(env: str) -> str:
    """The environment whose record is kept: all, once machines share an artifact store."""
    from sluice.release.environment_record import shared_address

    return env if shared_address(os.environ) else ""


def _agreed(workspace: Workspace, env: str) -> None:
    """Before the cluster is touched: the record follows it, and would stop where MLflow's alias disagrees."""
    from sluice.release.champion import require_agreement

    if _recorded(env):
        require_agreement(workspace, record_of(workspace, env))


def _before(workspace: Workspace, env: str) -> str:
    """What was live before the champion, as the record has it: it knows what was gone back from. Empty without one."""
    try:
        return record_of(workspace, env).previous() if _recorded(env) else ""
    except SluiceError:
        return ""


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
