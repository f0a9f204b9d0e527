"""The `sluice deploy`, `sluice rollback` and `sluice canary` commands, which act on and judge in a cluster."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sluice.cli.common import ImageOption, LoadImageOption, ReleaseOption, find_release, record_of, set_outputs
from sluice.core.errors import CanaryStopped, GateFailed, SluiceError
from sluice.core.workspace import Workspace

if TYPE_CHECKING:
    from sluice.release.manifest import Manifest

Environment = Annotated[str, typer.Option("--env", help="Environment: a folder of k8s/overlays/.")]
Context = Annotated[str, typer.Option(help="Context in the kubeconfig; default: the current one.")]
Timeout = Annotated[str, typer.Option(help="Maximum total time, such as 30m or 2h.")]
canary = typer.Typer(no_args_is_help=True, help="Judge a canary that runs beside stable.")
# The same variable as for the load stage: one Secret holds the key of both Jobs.
KEY = "SLUICE_LOAD_KEY"


def deploy(
    env: Environment,
    release: ReleaseOption = "",
    image: ImageOption = "",
    load_image: LoadImageOption = "",
    context: Context = "",
    timeout: Timeout = "2h",
    retry: Annotated[bool, typer.Option("--retry", help="Retry a release that was stopped.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Argo CD or Flux applies it: only watch and judge.")] = False,
    over_dead_stable: Annotated[
        bool, typer.Option("--over-dead-stable", help="Skip the steps if no pod of the live release is available.")
    ] = False,
) -> None:
    """Deploy a release to a cluster and watch the rollout.

    Exit code 0: promoted. Exit code 1: stopped or failed. Ctrl-C stops watching, not the rollout; run the same command
    to watch it again. Output on GitHub: `reason`, if the release doesn't go live."""
    from sluice.cluster.deploy_release import deploy as deploy_release
    from sluice.cluster.kubectl import Cluster
    from sluice.cluster.rollout_observer import WatchTimeouts
    from sluice.github.workflow_run import write_job_summary

    workspace, manifest, documents = render(env, release, image, load_image)
    seconds = _seconds(timeout)
    cluster = Cluster(workspace.state, context=context)
    with _interruptible(f"sluice deploy --env {env} --release {manifest.id}{' --watch' if watch else ''}", env):
        done = deploy_release(
            cluster,
            documents,
            show=_show,
            seconds=seconds,
            patience=WatchTimeouts(),
            retry=retry,
            watch=watch,
            over_dead_stable=over_dead_stable,
        )
    write_job_summary(done.markdown(env), os.environ)
    for line in done.logs:
        print(line)
    if done.passed:
        print(f"{done.release} is live in {env}" + ("; nothing changed" if done.kind == "unchanged" else ""))
        return
    set_outputs({"reason": " ".join(f"{env}: {'; '.join(done.reasons)}".split())})
    out = "revert its commit in git" if watch else f"`sluice rollback --env {env}`"
    kept = f"what was live stays live; {out} also takes the release out of the Rollout"
    raise CanaryStopped(
        f"{done.release} {'was stopped' if done.kind == 'stopped' else 'failed'} in {env}\n"
        + "\n".join(f"  {reason}" for reason in done.reasons),
        remedy="nothing else was live: fix it and deploy again" if done.first else kept,
    )


def rollback(
    env: Environment,
    release: Annotated[
        str, typer.Argument(help="Release id, or `previous`: stable during a rollout, otherwise the release before it.")
    ] = "previous",
    context: Context = "",
    timeout: Timeout = "30m",
) -> None:
    """Roll a cluster back to an earlier release, without canary steps, and update the record.

    The cluster must still hold the release. Without SLUICE_ARTEFACTS there's no record; only the cluster changes."""
    from sluice.cluster.kubectl import Cluster
    from sluice.cluster.release_overlay import place_of_rollout
    from sluice.cluster.rollback import rollback as roll_back
    from sluice.cluster.rollout_observer import WatchTimeouts
    from sluice.release.champion import restore

    workspace = Workspace.find()
    seconds = _seconds(timeout)
    namespace, name = place_of_rollout(workspace, env)
    cluster = Cluster(workspace.state, context=context)
    chosen = {"release": "" if release == "previous" else release, "recorded": ""}
    if _recorded(env):
        record = record_of(workspace, env)
        with suppress(SluiceError):  # nothing was live before, by the record
            known = record.previous() if release == "previous" else release
            chosen["recorded"] = known if record.was_live(known) else ""
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


def render(
    env: str, release: str, image: str, load_image: str, *, rollback: bool = False
) -> tuple[Workspace, Manifest, list[Any]]:
    """Render an environment with a release that wasn't refused; with `rollback`, with one that was live before."""
    from sluice.cluster.release_overlay import render_release
    from sluice.release.champion import refusal

    workspace = Workspace.find()
    manifest, folder = find_release(workspace, release, _recorded(env))
    if refused := refusal(record_of(workspace, _recorded(env)), folder):
        raise GateFailed(f"{manifest.id} was refused: {refused}", remedy="deploy one that passed")
    if rollback and not record_of(workspace, _recorded(env)).was_live(manifest.id):
        raise GateFailed(f"{manifest.id} was never live in {env}: it needs its canary", remedy="leave out --rollback")
    images = (image or manifest.image or "", load_image or manifest.load_image or "")
    return workspace, manifest, render_release(workspace, env, manifest, *images)


def _recorded(env: str) -> str:
    from sluice.release.environment_record import shared_address

    return env if shared_address(os.environ) else ""


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


def _seconds(text: str) -> float:
    from sluice.rollout.analysis_templates import parse_duration

    try:
        return parse_duration(text)
    except ValueError as error:
        raise SluiceError(f"--timeout: {error}", remedy="write it as 90s, 30m or 2h") from None


@canary.command("quality")
def canary_quality(
    stable: Annotated[str, typer.Option(help="URL of stable.")],
    canary: Annotated[str, typer.Option(help="URL of the canary.")],
    cases: Annotated[int, typer.Option(help="Number of questions, half of them unanswerable; 0: all.", min=0)] = 0,
    concurrency: Annotated[int, typer.Option(help="Concurrent questions per side.", min=1)] = 2,
    timeout: Annotated[float, typer.Option(help="Seconds until a request counts as failed.", min=1)] = 30,
    release: Annotated[
        Path | None, typer.Option(help="Release folder with `judging` and `config`; default: this checkout.")
    ] = None,
    questions: Annotated[Path | None, typer.Option(help="File of rows; default: the release's or checkout's.")] = None,
    gates: Annotated[
        Path | None, typer.Option(help="File with `comparison:`; default: the release's or checkout's.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="JSON file for the verdicts and the whole comparison.")] = None,
) -> None:
    """Ask stable and canary the same questions and compare the answers.

    Fails if the canary's answers are worse. If the services require an API key, set SLUICE_LOAD_KEY; both use it."""
    from sluice.core.atomic_files import write_json
    from sluice.core.progress import StageReporter
    from sluice.core.settings import load_settings
    from sluice.data.rows import load_rows
    from sluice.evaluation.comparison_policy import load_policy
    from sluice.evaluation.reports.phrasing import in_the_terminal
    from sluice.release.decision import quality_report, verdicts_of
    from sluice.release.manifest import JUDGING_CASES, JUDGING_GATES
    from sluice.release.verdict import reason_of
    from sluice.rollout.canary_quality import ReleaseClient, compare_served, sample
    from sluice.serving.settings import ServiceSettings

    if release:
        config = release / "config"
        gates, questions = gates or release / JUDGING_GATES, questions or release / JUDGING_CASES
    else:
        workspace = Workspace.find()
        config = workspace.config
        gates, questions = gates or config / "gates.yaml", questions or workspace.data / "eval.jsonl"
    decline = load_settings(config / "service.yaml", ServiceSettings).decline
    rows = sample(load_rows(questions), cases)
    key = os.environ.get(KEY, "")
    progress = StageReporter("quality")
    found = compare_served(
        ReleaseClient(stable, decline, timeout, key),
        ReleaseClient(canary, decline, timeout, key),
        rows,
        load_policy(gates),
        concurrency=concurrency,
        on_progress=lambda done, total: progress.report(done, total, "answers"),
    )
    if out:
        write_json(out, quality_report(found))
    print(in_the_terminal(found))
    if not found.passed:
        raise GateFailed(reason_of(verdicts_of(found, "quality")))
