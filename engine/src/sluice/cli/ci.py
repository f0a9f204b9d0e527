"""`sluice ci`: plans, checks and reports a workflow run on GitHub. Workflow steps call it; it also works on a
laptop."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from sluice.cli.common import BaseOption, set_outputs, tell
from sluice.core.errors import SluiceError, ValidationErrors
from sluice.core.workspace import Workspace

Needs = Annotated[str, typer.Option(help="The context `needs` as JSON.", envvar="NEEDS")]
group = typer.Typer(no_args_is_help=True, help="What a run on GitHub decides and tells.")


@group.command()
def plan(
    base: BaseOption = "origin/main",
    head: Annotated[str, typer.Option(help="Branch, tag or commit of the change.")] = "HEAD",
) -> None:
    """Say which jobs of ci.yml a change needs, by the paths that it changes; on doubt, all of them.

    In GitHub Actions the answer goes into the outputs of the step, `true` or `false` for each job, and the summary."""
    from sluice.github.job_plan import plan_change, summary

    workspace = Workspace.find()
    found = plan_change(workspace.root, base, head)
    if missing := _keys_of_providers(workspace):
        found = found.omit(
            "rehearse-release", f"{', '.join(missing)} not set: no model can be called; main rehearses it"
        )
    print(summary(found))
    tell(summary(found))
    print(set_outputs(found.outputs()), file=sys.stderr)


@group.command()
def project() -> None:
    """Say which environments config/project.yaml names: `first`, which is deployed first, and `last`, which users meet.

    In GitHub Actions they are outputs of the step, for what comes after."""
    from sluice.core.project import load_project

    first, last = load_project(Workspace.find().config).environments
    print(f"first: {first}\nlast: {last}")
    print(set_outputs({"first": first, "last": last}), file=sys.stderr)


@group.command()
def required(needs: Needs) -> None:
    """Fail unless every job succeeded, or was skipped because the plan had said that it is not needed."""
    from sluice.github.required_jobs import judge, summary

    outcomes = judge(needs)
    print(summary(outcomes))
    tell(summary(outcomes))
    if faults := [f"{one.job}: {one.result}: {one.fault}" for one in outcomes if one.fault]:
        raise ValidationErrors("required", faults)


@group.command()
def issue(
    needs: Needs,
    title: Annotated[str, typer.Option(help="Title of the issue.")],
    marker: Annotated[str, typer.Option(help="The word that the issue is found by.")],
) -> None:
    """Open or update one issue while a job of this run fails; close it when all succeed.

    Needs GITHUB_TOKEN with the right `issues: write`."""
    from sluice.github.failure_issue import report_trouble

    said = report_trouble(title, needs, os.environ, marker=marker)
    print(f"{said.message} {said.url or ''}".rstrip())


def _keys_of_providers(workspace: Workspace) -> list[str]:
    """Variables with keys of providers that are not set here. A pull request has no secrets."""
    from sluice.llm.model_files import Models
    from sluice.llm.settings import load_providers, missing_keys

    try:
        providers = load_providers(workspace.config / "providers.yaml", roles=Models.roles())
    except SluiceError:
        return []  # a broken file is for the tests to tell, not a reason to do less
    return missing_keys((*providers.chat, *providers.judge))
