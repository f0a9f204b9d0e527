"""The resumable steps of release.yml: `sluice release plan`, `stage`, `promote`, `conclude`, `publish` and others.

You can rerun each of them after it was killed. They also work outside GitHub if SLUICE_ARTEFACTS is set."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from sluice.cli.common import (
    EnvironmentOption,
    ReasonOption,
    ReleaseArgument,
    find_release,
    record_of,
    set_outputs,
    tell,
)
from sluice.cli.release import group
from sluice.core import git
from sluice.core.digests import digest_of_file
from sluice.core.errors import GateFailed, SluiceError
from sluice.core.text import code
from sluice.core.workspace import Workspace


@group.command("plan")
def release_plan(env: EnvironmentOption) -> None:
    """Report if there is anything to release since the last decided commit.

    Outputs on GitHub: `make`, true or false; `unknown`, the release whose outcome isn't known, or whose promotion was
    cut off."""
    from sluice.jobs.release_steps import ReleasePlan, plan
    from sluice.release.environment_record import shared_address

    if os.environ.get("GITHUB_ACTIONS") == "true" and not shared_address(os.environ):
        missing = "SLUICE_ARTEFACTS names no artifact store, and the extra registry, for GitHub's own, was left out"
        found, lost = ReleasePlan(False, missing), None
    else:
        record = record_of(workspace := Workspace.find(), env)
        found, lost = plan(workspace, record), record.unknown() or record.pending()
        if os.environ.get("GITHUB_EVENT_NAME") in ("schedule", "workflow_dispatch"):
            found = ReleasePlan(False, "by the clock or by hand a run settles what was lost, and a merge releases")
    print(found.reason if found.make else f"Nothing to release: {found.reason}")
    tell(f"### {'A release is made' if found.make else 'Nothing to release'}\n\n{code(found.reason)}")
    set_outputs({"make": "true" if found.make else "false", "unknown": lost.id if lost else ""})


@group.command("stage")
def release_stage(
    env: EnvironmentOption,
    image: Annotated[
        str, typer.Option(help="NAME@sha256:DIGEST of the image that serves it in a cluster.", envvar="SLUICE_IMAGE")
    ] = "",
    load_image: Annotated[
        str, typer.Option(help="The same for the image that judges its canary.", envvar="SLUICE_LOAD_IMAGE")
    ] = "",
) -> None:
    """Build this commit's candidate, judge it against the champion and upload it.

    Other machines can then fetch it from the artifact store. Exit code 3 if a gate fails. Outputs on GitHub: `verdict`,
    candidate or refused; `release`; `digest` of its release.json; `judgement`, that of its judgement.json; `folder`."""
    from sluice.jobs.release_steps import stage
    from sluice.release.champion import refusal
    from sluice.release.manifest import FILE, Images, load_judgement
    from sluice.release.release_report import markdown
    from sluice.release.verdict import JUDGEMENT

    workspace = Workspace.find()
    images = Images(image or None, load_image or None)
    record = record_of(workspace, env)
    manifest, folder = stage(workspace, record, images=images)
    refused = refusal(record, folder)
    verdict = "refused" if refused else "candidate"
    print(f"{manifest.id}  {verdict}\nreport  {folder / 'report.html'}")
    tell(f"### {verdict}\n\n" + markdown(_parent(workspace, load_judgement(folder).parent), (manifest, folder)))
    digests = {"digest": FILE, "judgement": JUDGEMENT}
    outputs = {
        name: f"sha256:{digest_of_file(folder / file)}" for name, file in digests.items() if (folder / file).is_file()
    }
    set_outputs(
        {"verdict": verdict, "release": manifest.id, **outputs, "folder": str(folder.relative_to(workspace.root))}
    )
    if refused:
        raise GateFailed(f"release {manifest.id} was refused: {refused}", remedy="the champion stays live")


@group.command("promote")
def release_promote(
    release: ReleaseArgument, env: EnvironmentOption, reason: ReasonOption = "every canary step held"
) -> None:
    """Promote a release to champion of an environment, in MLflow and the record; repeating it does nothing."""
    from sluice.release import champion

    workspace = Workspace.find()
    record = record_of(workspace, env)
    with workspace.exclusive():
        champion.settle(workspace, record)
        moved = champion.promote(workspace, record, release, commit=git.commit(workspace.root), reason=reason)
    print(f"{release} is the champion of {env}" + ("" if moved else " already"))


@group.command("conclude")
def release_conclude(
    release: ReleaseArgument,
    env: EnvironmentOption,
    reason: ReasonOption = "",
    needs: Annotated[str, typer.Option(help="GitHub's `needs` context as JSON.", envvar="NEEDS")] = "",
    issue: Annotated[bool, typer.Option("--issue", help="Open or update an issue on GitHub.")] = False,
) -> None:
    """Record the outcome of a release that didn't go live; the live release stays live.

    The release was stopped if there is a reason, given here or as the output of a job, or if its deployment to the
    environment never began: a reviewer refused it, or an earlier job failed. Any other outcome (timeout, cancelled,
    lost runner) is unknown: the rollout may continue, and `sluice release reconcile` settles it."""
    from sluice.github.workflow_run import jobs_of
    from sluice.release import champion

    workspace = Workspace.find()
    record, commit = record_of(workspace, env), git.commit(workspace.root)
    jobs = jobs_of(needs) if needs or not reason else {}
    ended = {job: facts for job, facts in jobs.items() if facts.get("result") in ("failure", "cancelled")}
    how = ", ".join(f"{job}: {facts['result']}" for job, facts in ended.items())
    said = reason or "; ".join(text for one in ended.values() if (text := (one.get("outputs") or {}).get("reason")))
    if not said and not record.pending():
        said = _undeployed(jobs.get("production", {}), how)
    if said:
        champion.reject(workspace, record, release, said, commit=commit)
    elif (lost := record.unknown()) is None or lost.id != release:
        record.append("unknown", release, commit=commit, reason=f"no job gave a reason: {how}")
    live = champion.champion_id(record)
    print(f"{release} {'was stopped' if said else 'ended unknown'}; {live or 'nothing'} is live in {env}")
    if issue:
        print(_open_issue(release, env, said, live))


def _undeployed(production: dict[str, Any], how: str) -> str:
    """Return why no rollout can be under way in production; empty if one can."""
    from sluice.github.github_client import why_unbegun

    if production.get("result") == "skipped" or (production.get("outputs") or {}).get("cluster") == "false":
        return f"nothing was deployed: {how}"
    with suppress(SluiceError):  # the record comes first: without an answer the end is unknown
        return why_unbegun("production", os.environ)
    return ""


@group.command("reconcile")
def release_reconcile(
    env: EnvironmentOption,
    cluster: Annotated[str, typer.Option(help="Cluster that kubectl reaches; empty: none.", envvar="CLUSTER")] = "",
    timeout: Annotated[str, typer.Option(help="Maximum time for a rollout that is under way.")] = "2h",
) -> None:
    """Settle an interrupted promotion, or a release whose outcome isn't known.

    A lost run leaves these behind. With --cluster, it asks the cluster and watches a rollout that is under way."""
    from functools import partial

    from sluice.cluster.deploy_release import end_of_rollout
    from sluice.cluster.kubectl import Cluster
    from sluice.cluster.release_overlay import place_of_rollout
    from sluice.jobs.release_steps import reconcile
    from sluice.rollout.analysis_templates import parse_duration

    workspace, end_of = Workspace.find(), None
    if cluster:
        there = (Cluster(workspace.state), *place_of_rollout(workspace, env))
        end_of = partial(end_of_rollout, *there, show=print, seconds=parse_duration(timeout))
    said = reconcile(workspace, record_of(workspace, env), end_of)
    print(said)
    tell(code(said))


@group.command("publish")
def release_publish(release: ReleaseArgument, env: EnvironmentOption) -> None:
    """Create the GitHub Release, named by the release id, with notes, release.json, judgement.json and the report.

    Notes list the changes since its parent. Keeps existing parts, adds missing ones, skips a release that isn't
    live."""
    from sluice.github.github_client import publish_release
    from sluice.release import champion
    from sluice.release.manifest import FILE, load_judgement
    from sluice.release.release_report import FILE as REPORT
    from sluice.release.release_report import markdown
    from sluice.release.verdict import JUDGEMENT

    workspace = Workspace.find()
    if release != (live := champion.champion_id(record_of(workspace, env))):
        tell(f"No GitHub Release of {code(release)}: {code(live or 'nothing')} is live in {env}.")
        print(f"{release} is not live in {env}: nothing is published")
        return
    manifest, folder = find_release(workspace, release, env)
    judgement = load_judgement(folder)
    notes = markdown(_parent(workspace, judgement.parent), (manifest, folder))
    files = {name: (folder / name).read_bytes() for name in (FILE, JUDGEMENT, REPORT) if (folder / name).is_file()}
    posted = publish_release(manifest.id, notes, files, os.environ, commit=judgement.commit)
    print(f"{posted.message}: {posted.url}")


def _parent(workspace: Workspace, parent: str | None) -> tuple[Any, Path] | None:
    return find_release(workspace, parent) if parent else None


def _open_issue(release: str, env: str, reason: str, live: str | None) -> str:
    from sluice.github.tracked_issue import upsert_issue

    server, repository = (os.environ.get(f"GITHUB_{name}", "") for name in ("SERVER_URL", "REPOSITORY"))
    run = f"{server}/{repository}/actions/runs/{os.environ.get('GITHUB_RUN_ID', '')}"
    stays = f"{code(live)} is live and stays live" if live else "Nothing was live"
    if not reason:
        stays = "A rollout may go on; the night, the next release or the failed job run again settles that first"
    ended = "was stopped" if reason else "ended unknown"
    text = f"""{code(release)} {ended} on its way to {env}. {stays}.

Reason: {code(reason or "no job gave one")}

- [The run]({run}): the failed job has the log, its artifact `release` the report with every case.
- [The commit]({server}/{repository}/commit/{git.commit(Path.cwd())})
- What to do: `docs/github.md`, *If a release was stopped*.
"""
    posted = upsert_issue(f"Release {release} {ended}", text, os.environ, marker=f"stopped-{env}-{release}")
    return f"{posted.message}: {posted.url}"
