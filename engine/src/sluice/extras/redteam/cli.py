"""The `sluice redteam` command."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sluice.cli.common import EnvOption, PortOption, find_release
from sluice.core.errors import GateFailed, SluiceError
from sluice.core.workspace import Workspace

if TYPE_CHECKING:
    from sluice.extras.redteam.drill import RedTeamParameters, RedTeamPlan
    from sluice.extras.redteam.result import RedTeamResult
    from sluice.extras.redteam.target import SystemUnderTest

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
    workspace = Workspace.find()
    with nullcontext() if url else workspace.exclusive():  # one run at a time has .sluice/redteam/
        subject = _subject(workspace, release, url, draft=draft, env=env)
        plan = _plan(workspace, subject, family or [], url, garak=not no_garak)
        own = subject.folder / "redteam" if subject.folder and plan.complete else workspace.build / "redteam"
        folder = out or own
        result = _run(workspace, subject, plan, folder, url, key, garak=not no_garak, env=env)
    _show(result, folder, publish=publish)
    if failed := result.refused:
        lines = "\n".join(f"  {reason}" for reason in failed)
        raise GateFailed(f"the red team got through\n{lines}", remedy=f"{folder} has every attack and its answer")


def _show(result: RedTeamResult, folder: Path, *, publish: bool) -> None:
    from sluice.evaluation.reports import COMMENT
    from sluice.extras.redteam.report import in_the_terminal
    from sluice.github.workflow_run import write_job_summary

    print(in_the_terminal(result))
    print(f"reports: {folder}")
    if publish:
        print(write_job_summary((folder / COMMENT).read_text(), os.environ), file=sys.stderr)


@group.command("target", hidden=True)
def redteam_target(
    side: Annotated[str, typer.Option(help="Side to serve: complying, unguarded or released.")],
    port: PortOption,
    state: Annotated[Path, typer.Option(help="Folder for the store and keys.")],
    index: Annotated[Path, typer.Option(help="Index with the planted documents.")],
    release: Annotated[Path | None, typer.Option(help="Release folder; default: the build in build/.")] = None,
) -> None:
    """Serve the system under attack; `sluice redteam` starts it."""
    from sluice.extras.redteam.target import SIDES, draft, released, serve

    workspace = Workspace.find()
    subject = released(workspace, release) if release else draft(workspace, make=False)
    chosen = next((one for one in SIDES if one == side), None)
    if chosen is None:
        raise SluiceError(f"no side {side!r}", remedy=f"use {', '.join(SIDES)}")
    serve(subject.bundle, chosen, port, index=index, state=state)


def _subject(workspace: Workspace, release: str, url: str, *, draft: bool, env: str) -> SystemUnderTest:
    from sluice.extras.redteam import target as subject
    from sluice.serving.release_parts import DRAFT

    if draft:
        return subject.draft(workspace)
    if url:
        serving = subject.release_at(url)
        return subject.subject_at(workspace, url, None if serving == DRAFT else find_release(workspace, serving)[1])
    return subject.released(workspace, find_release(workspace, release, env)[1])


def _plan(workspace: Workspace, subject: SystemUnderTest, wanted: list[str], url: str, *, garak: bool) -> RedTeamPlan:
    from sluice.core.settings import nearest
    from sluice.extras.redteam.drill import RedTeamPlan
    from sluice.extras.redteam.suites import ASKED
    from sluice.extras.redteam.target import SIDES

    for name in wanted:
        if name not in ASKED:
            raise SluiceError(f"no family {name!r}{nearest(name, list(ASKED))}", remedy=f"use {', '.join(ASKED)}")
        if url and ASKED[name].planted:
            raise SluiceError(f"{name} needs documents in the index of {url}", remedy="run it on a release")
    suites = {name: suite for name, suite in ASKED.items() if name in (wanted or ASKED)}
    if url:
        suites = {name: suite for name, suite in suites.items() if not suite.planted}
    complete = not url and garak and len(suites) == len(ASKED)
    return RedTeamPlan(subject.title, suites, ("released",) if url else SIDES, complete, _parameters(workspace))


def _parameters(workspace: Workspace) -> RedTeamParameters:
    from sluice.core.params import load_params
    from sluice.extras.redteam.drill import RedTeamParameters

    return load_params(workspace.params, "redteam", RedTeamParameters)


def _run(
    workspace: Workspace,
    subject: SystemUnderTest,
    plan: RedTeamPlan,
    folder: Path,
    url: str,
    key: str,
    *,
    garak: bool,
    env: str,
) -> RedTeamResult:
    from sluice.data.rows import load_rows
    from sluice.evaluation.comparison_policy import load_policy
    from sluice.extras.redteam.drill import attack, judge, planted_index, scene_of
    from sluice.extras.redteam.garak import installed, run_garak
    from sluice.extras.redteam.target import ServiceLauncher, running
    from sluice.release.gates import load_gates

    gates, policy = load_gates(workspace.config / "gates.yaml"), load_policy(workspace.config / "gates.yaml")
    program = installed() if garak else None
    questions = [row.question for row in load_rows(workspace.data / "eval.jsonl") if row.answerable]
    starter = ServiceLauncher(workspace, subject)
    index = None if url else planted_index(subject.bundle, list(plan.suites.values()), starter.state / "index")
    found = attack(
        plan,
        scene_of(subject.bundle, questions),
        (lambda *_: running(url, key)) if url else starter,
        index,
        garak=(lambda target: run_garak(program, target, plan.parameters.garak, starter.state / "garak"))
        if program
        else None,
        progress=_progress(),
    )
    before, title = _before(workspace, env)
    return judge(plan, found, gates, policy, before=before, before_title=title, out=folder)


def _progress() -> Callable[[str, float, float], None]:
    """Return a function that shows the progress of each side."""
    from sluice.core.progress import StageReporter

    reporters: dict[str, StageReporter] = {}

    def show(side: str, done: float, total: float) -> None:
        reporters.setdefault(side, StageReporter(f"redteam {side}")).report(done, total)

    return show


def _before(workspace: Workspace, env: str) -> tuple[Path | None, str]:
    """Return the champion's last red team run, if there is one."""
    from sluice.release.champion import champion_id
    from sluice.release.environment_record import open_record

    live = champion_id(open_record(workspace, env, os.environ))
    folder = workspace.releases / live / "redteam" if live else None
    return (folder, f"champion {live}") if folder and folder.is_dir() else (None, "")


def register(app: typer.Typer, _: Mapping[str, typer.Typer]) -> None:
    app.add_typer(group, name="redteam")
