"""The `sluice release` commands for people; `release_steps.py` has the steps of jobs on GitHub."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sluice.cli.common import (
    ChampionArgument,
    EnvOption,
    FaultOption,
    ReleaseArgument,
    find_release,
    print_json,
    record_of,
)
from sluice.core.atomic_files import read_json
from sluice.core.errors import CanaryStopped, GateFailed, ValidationErrors
from sluice.core.extras import hooks
from sluice.core.text import code, table
from sluice.core.workspace import Workspace
from sluice.github.workflow_run import write_job_summary

if TYPE_CHECKING:
    from sluice.jobs.release_job import ReleaseOutcome

ARTEFACTS = "SLUICE_ARTEFACTS"  # so that a pod's manifest names the artifact store once
group = typer.Typer(no_args_is_help=True, help="Make, list, show, compare, verify, ship and roll back releases.")


@group.command("make")
def release_make(
    fault: FaultOption = "",
    rebuild: Annotated[
        bool,
        typer.Option("--rebuild", help="Build from scratch, without the trained starter or recorded answers."),
    ] = False,
) -> None:
    """Release the working tree: check, index, train, evaluate, judge, rehearse and promote."""
    from sluice.evaluation.response_cache import FOLDER, REBUILD, responses_folder
    from sluice.jobs.release_job import make_release

    workspace = Workspace.find()
    if rebuild:
        os.environ[REBUILD] = "yes"  # for the stages, which are processes of their own
    outcome = make_release(workspace, fault=fault)
    if rebuild:  # later comparisons may replay what was answered now
        shutil.copytree(responses_folder(workspace.state), workspace.state / FOLDER, dirs_exist_ok=True)
    show_release(outcome)
    if not outcome.passed:
        refusal = CanaryStopped if outcome.rehearsal else GateFailed
        remedy = "the champion stays live; the report shows the cases"
        raise refusal(f"release {outcome.manifest.id} was {outcome.verdict}: {outcome.reason}", remedy=remedy)


@group.command("starter")
def release_starter() -> None:
    """Publish the build of `make release REBUILD=yes` as the starter.

    Clones of this commit use it instead of training. The command writes starter.dvc and pushes its files; commit
    starter.dvc, and dvc-store/ if that's the remote."""
    from sluice.jobs.dvc_pipeline import hand_out

    for line in hand_out(Workspace.find()):
        print(line)


@group.command("list")
def release_list(
    env: EnvOption = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line, with all keys.")] = False,
) -> None:
    """List promotions, refusals and rollbacks with their reasons; * marks the live release."""
    record = record_of(Workspace.find(), env)
    live = record.champion()
    for event in record.history():
        if as_json:
            print(event.model_dump_json())
            continue
        mark = "*" if event == live else " "
        by = f"  ({event.by})" if event.by else ""
        print(f"{mark} {event.time[:19]}Z  {event.event:<12}  {event.id}  {event.reason}{by}")


@group.command("show")
def release_show(release: ChampionArgument = "", env: EnvOption = "") -> None:
    """Print a release: its manifest, and how it was judged."""
    from sluice.release.manifest import load_judgement

    manifest, folder = find_release(Workspace.find(), release, env)
    print_json(manifest.document() | load_judgement(folder).model_dump(mode="json", exclude={"release", "digest"}))


@group.command("diff")
def release_diff(before: ReleaseArgument, after: ChampionArgument = "", env: EnvOption = "") -> None:
    """Compare two releases: metrics, parts, prompt texts and settings. Prints Markdown."""
    from sluice.release.release_report import markdown

    workspace = Workspace.find()
    print(markdown(find_release(workspace, before, env), find_release(workspace, after, env)))


@group.command("verify")
def release_verify(
    release: ChampionArgument = "",
    env: EnvOption = "",
    judged: Annotated[
        str, typer.Option("--judged-in", help="Fail unless the release was judged against this environment's champion.")
    ] = "",
    attested: Annotated[
        bool | None,
        typer.Option("--attested/--unsigned", envvar="SLUICE_ATTESTED", help="Require the attestation, or skip it."),
    ] = None,
) -> None:
    """Verify every digest of a release and GitHub's attestation of it.

    Checks this machine and the shared artifact store. Anything that can't be checked is reported as not verified."""
    from sluice.release.environment_record import shared_address, shared_artifact_store
    from sluice.release.verification import check_artifact_store, check_attestation, check_champion, check_folder

    workspace = Workspace.find()
    _, folder = find_release(workspace, release, env)
    store = shared_artifact_store(os.environ) if shared_address(os.environ) else None
    attestation = check_attestation(folder, os.environ, signed=attested is not False)
    checks = [check_folder(folder), check_artifact_store(store, workspace, folder), attestation]
    checks += [check(folder) for check in hooks("verify_release").values()]
    if judged:
        checks.append(check_champion(folder, record_of(workspace, judged)))
    for check in checks:
        print(check)
    wrong = [check for check in checks if check.result == "failed"]
    if attested and attestation.result == "not verified":
        wrong.append(attestation)
    if wrong:
        raise ValidationErrors(f"release {folder.name}", [str(check) for check in wrong], remedy="do not deploy it")


@group.command("rollback")
def release_rollback(
    release: Annotated[str, typer.Argument(help="Id of the release to go back to, or `previous`.")],
    env: EnvOption = "",
) -> None:
    """Make an earlier release the champion again, after verifying its files.

    In a cluster, use `sluice rollback`: it does this and rolls back the cluster too."""
    from sluice.release.champion import restore

    workspace = Workspace.find()
    print(restore(workspace, record_of(workspace, env), release))


@group.command("push")
def release_push(
    release: ChampionArgument = "",
    to: Annotated[str, typer.Option(help="Target: github, s3://bucket/prefix or a folder.", envvar=ARTEFACTS)] = "",
) -> None:
    """Upload a release and its models to the artifact store, where other machines fetch them."""
    from sluice.release import catalogue
    from sluice.release.environment_record import PLACE, shared_artifact_store

    workspace = Workspace.find()
    store = shared_artifact_store({**os.environ, PLACE: to})
    manifest, folder = find_release(workspace, release)
    listed = any(
        entry.id == manifest.id and catalogue.is_judgement_of(entry, folder) for entry in catalogue.newest(store)
    )
    moved = catalogue.push(folder, workspace, store) if listed else catalogue.add(store, workspace, folder)
    print(f"{moved.manifest.id}: {moved.files} files, {moved.moved} of them new\nsha256:{moved.digest}")


@group.command("fetch")
def release_fetch(
    manifest: Annotated[str, typer.Argument(help="Path of a release.json, or `sha256:` and its digest.")],
    source: Annotated[
        str,
        typer.Option(
            "--from", help="oci://registry/name, s3://bucket/prefix, https://host/path or a folder.", envvar=ARTEFACTS
        ),
    ],
    into: Annotated[Path, typer.Option(help="Folder for the release.")] = Path("/release"),
    only: Annotated[
        list[str] | None, typer.Option(help="Fetch only this folder of the release, without models; repeatable.")
    ] = None,
) -> None:
    """Fetch a release and its models and verify every digest; a pod's init container runs this.

    With --only, fetch those folders and no model: judging a canary needs `judging` (gates, cases) and `config`."""
    from sluice.release.artifact_store import open_artifact_store
    from sluice.release.catalogue import fetch, fetch_folders

    store, here = open_artifact_store(source), Workspace.around() or Workspace(Path.cwd())
    moved = fetch_folders(manifest, store, into, only) if only else fetch(manifest, store, into, here)
    print(f"{moved.manifest.id}: {moved.files} files verified, {moved.moved} of them fetched\nsha256:{moved.digest}")


def show_release(outcome: ReleaseOutcome) -> None:
    from rich.console import Console
    from rich.markdown import Markdown

    write_job_summary(summary(outcome), os.environ)
    console = Console(highlight=False)
    if outcome.verdict == "unchanged":
        console.print(f"Nothing changed: {outcome.manifest.id} is live and stays live.")
        return
    console.print(f"{outcome.manifest.id} against the champion {outcome.champion.id if outcome.champion else 'none'}")
    console.print(Markdown(_tables(outcome)))
    taken = ", ".join(f"{entry['stage']} {entry['seconds']:.0f} s" for entry in outcome.stages)
    console.print(f"stages   {taken}", soft_wrap=True)
    console.print(f"release  [bold]{outcome.manifest.id}[/bold]  {outcome.verdict}")
    if outcome.passed:
        console.print("talk     make serve, then POST http://127.0.0.1:8080/v1/chat/completions", soft_wrap=True)
    console.print(f"report   {outcome.folder / 'report.html'}", soft_wrap=True)


def summary(outcome: ReleaseOutcome) -> str:
    head = f"### Release {outcome.manifest.id}: {outcome.verdict}\n\n"
    if outcome.verdict == "unchanged":
        return head
    reason = table(("reason",), [(outcome.reason,)]) + "\n" if outcome.reason else ""
    return head + reason + _tables(outcome)


def _tables(outcome: ReleaseOutcome) -> str:
    from sluice.release.release_report import warnings_of

    shown = table(("metric", "champion", "candidate", "change"), _metrics(outcome))
    if outcome.rehearsal:
        steps = [
            (f"{one.kind} {one.template}", f"{one.weight} %", f"{one.seconds:.0f}", f"{one.verdict} {one.reason}")
            for one in outcome.rehearsal.steps
        ]
        shown += "\n" + table(("step", "weight", "seconds", "verdict"), steps)
    return "".join([shown, *(f"\n{code(warning)}\n" for warning in warnings_of(outcome.folder))])


def _metrics(outcome: ReleaseOutcome) -> Iterator[tuple[str, ...]]:
    from sluice.release.gates import number
    from sluice.release.staging import CHAMPION_SUMMARY

    folder = outcome.folder / "evaluation"
    theirs = read_json(folder / CHAMPION_SUMMARY)["metrics"] if outcome.champion else {}
    for name, figure in read_json(folder / "summary.json")["metrics"].items():
        mine, other = figure["value"], theirs.get(name, {}).get("value")
        change = "" if mine is None or other is None else f"{mine - other:+.3g}"
        yield name, *("none" if value is None else number(value) for value in (other, mine)), change
