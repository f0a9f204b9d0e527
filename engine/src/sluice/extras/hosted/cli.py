"""The `sluice answers` commands: a workflow of main answers what a pull request's job couldn't ask."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from sluice.cli.common import set_outputs, tell
from sluice.core.errors import SluiceError
from sluice.core.workspace import Workspace

FOLDER = "answers"  # below build/
RunOption = Annotated[int, typer.Option(min=1, help="Number of the waiting ci run.")]


def check(run: RunOption) -> None:
    """Check the requests of a ci run before asking anything: schema, settings, author, money."""
    from sluice.extras.hosted.check_run import check_run

    state, text = check_run(Workspace.find(), run, Workspace.find().build / FOLDER, os.environ)
    set_outputs({"state": state})
    tell(f"### Requests of run {run}\n\n{text}\n")
    print(text)


def ask(
    file: Annotated[Path | None, typer.Argument(help="File of requests; default: those that `check` accepted.")] = None,
) -> None:
    """Send the requests of a file to hosted models and write build/answers/answers.jsonl."""
    from sluice.extras.hosted.answer_requests import ask_file

    workspace = Workspace.find()
    text = ask_file(workspace, file, workspace.build / FOLDER)
    tell(f"{text}\n")
    print(text)


def bring() -> None:
    """Copy main's answers to this ci run into the response cache, and say whether it may wait without being red."""
    from sluice.extras.hosted.actions_runs import has_passed
    from sluice.extras.hosted.answers_file import bring_answers
    from sluice.github.github_client import open_repository
    from sluice.github.workflow_run import this_run

    number, attempt = this_run(os.environ)
    quiet = os.environ.get("PENDING_ANSWERS") == "on" and os.environ.get("GITHUB_EVENT_NAME") == "pull_request"
    if attempt == 1 and not quiet:
        print("the first attempt of a run: nothing was asked yet")
        return
    with open_repository(os.environ) as repository:
        if attempt > 1:
            print(f"{bring_answers(Workspace.find(), repository, os.environ)} responses of answer-requests")
        if quiet:
            set_outputs({"pending": str(not has_passed(repository, number)).lower()})


def resume(run: RunOption) -> None:
    """Rerun the failed jobs of a ci run, unless its branch has a newer one."""
    from sluice.extras.hosted.actions_runs import newer_run, rerun, waiting_run
    from sluice.github.github_client import open_repository

    with open_repository(os.environ) as repository:
        if newer := newer_run(repository, waiting := waiting_run(repository, run)):
            print(f"run {run}: not run again: run {newer} compares what was pushed since")
            return
        if not rerun(waiting):
            raise SluiceError(f"run {run}: GitHub refused to re-run it", remedy="re-run its failed jobs by hand")
    print(f"run {run}: its failed jobs run again")


def register(app: typer.Typer, _: Mapping[str, typer.Typer]) -> None:
    group = typer.Typer(no_args_is_help=True, help="Answer hosted-model requests of pull requests that have no key.")
    for command in (check, ask, bring, resume):
        group.command()(command)
    app.add_typer(group, name="answers")
