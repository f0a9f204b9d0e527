"""The `sluice redteam` command."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Literal

import typer

from sluice.cli.common import EnvOption, PortOption
from sluice.core.errors import GateFailed, SluiceError
from sluice.core.workspace import Workspace

group = typer.Typer()


@group.callback(invoke_without_command=True)
def redteam(
    context: typer.Context,
    release: Annotated[str, typer.Option(help="Release id; default: the champion.")] = "",
    draft: Annotated[bool, typer.Option("--draft", help="Build and attack the working tree's release.")] = False,
    url: Annotated[str, typer.Option(help="Running service; skips attacks that plant documents.")] = "",
    key: Annotated[str, typer.Option(envvar="SLUICE_REDTEAM_KEY", help="API key for --url.", show_default=False)] = "",
    family: Annotated[list[str] | None, typer.Option(help="Run only this family of attacks; repeatable.")] = None,
    no_garak: Annotated[bool, typer.Option("--no-garak", help="Skip garak, which `make redteam` installs.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for the reports; default: redteam/ of the release.")] = None,
    publish: Annotated[bool, typer.Option("--publish", help="In GitHub Actions, add to the job summary.")] = False,
    env: EnvOption = "",
) -> None:
    """Attack a release with the project's suites and garak, and report which attacks succeed.

    Metrics and thresholds are in engine/docs/reference/redteam.md and config/gates.yaml. Exit code 3 if a gate fails,
    or if more attacks succeed than in the champion's last run."""
    if context.invoked_subcommand is not None:
        return
    if sum(map(bool, (release, draft, url))) > 1:
        raise SluiceError("--release, --draft and --url exclude each other", remedy="name one of them")
    from sluice.evaluation.reports.comparison_page import COMMENT
    from sluice.extras.redteam.drill import make_plan, run
    from sluice.extras.redteam.report import in_the_terminal
    from sluice.extras.redteam.target import find_subject
    from sluice.github.workflow_run import write_job_summary

    workspace, garak = Workspace.find(), not no_garak
    with nullcontext() if url else workspace.exclusive():  # one run at a time has .sluice/redteam/
        subject = find_subject(workspace, release, url, working_tree=draft, env=env)
        plan = make_plan(workspace, subject.title, family or [], url, garak=garak)
        own = subject.folder / "redteam" if subject.folder and plan.complete else workspace.build / "redteam"
        folder = out or own
        result = run(workspace, subject, plan, folder, url=url, key=key, garak=garak, env=env)
    print(in_the_terminal(result))
    print(f"reports: {folder}")
    if publish:
        print(write_job_summary((folder / COMMENT).read_text(), os.environ), file=sys.stderr)
    if failed := result.refused:
        lines = "\n".join(f"  {reason}" for reason in failed)
        raise GateFailed(f"the red team got through\n{lines}", remedy=f"{folder} has every attack and its answer")


@group.command("target", hidden=True)
def redteam_target(
    side: Annotated[Literal["complying", "unguarded", "released"], typer.Option(help="Side to serve.")],
    port: PortOption,
    state: Annotated[Path, typer.Option(help="Folder for the store and keys.")],
    index: Annotated[Path, typer.Option(help="Index with the planted documents.")],
    release: Annotated[Path | None, typer.Option(help="Release folder; default: the build in build/.")] = None,
) -> None:
    """Serve the system under attack; `sluice redteam` starts it."""
    from sluice.extras.redteam.target import draft, serve
    from sluice.release.release_bundle import open_bundle

    workspace = Workspace.find()
    bundle = open_bundle(release, workspace) if release else draft(workspace, make=False)
    serve(bundle, side, port, index=index, state=state)


def register(app: typer.Typer, _: Mapping[str, typer.Typer]) -> None:
    app.add_typer(group, name="redteam")
