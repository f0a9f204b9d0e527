"""`sluice ci`: what a workflow run asks and reports; what needs no installation is in engine/scripts/ci.py."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import Annotated

import typer

from sluice.cli.common import set_outputs, tell
from sluice.core.errors import SluiceError
from sluice.core.workspace import Workspace

group = typer.Typer(no_args_is_help=True, help="What a run on GitHub decides and tells.")


@group.command()
def keys() -> None:
    """Say which keys of providers are not set here: without them no model can be called, and nothing rehearsed.

    Output on GitHub: `missing`, empty when all are there. A pull request has no secrets."""
    from sluice.llm.model_files import Models
    from sluice.llm.settings import load_providers, missing_keys

    missing = ""
    with suppress(SluiceError):  # a broken file is for the tests to tell, not a reason to do less
        providers = load_providers(Workspace.find().config / "providers.yaml", roles=Models.roles())
        missing = ", ".join(missing_keys((*providers.chat, *providers.judge)))
    if missing:
        tell(f"Not rehearsed: {missing} not set, so no model can be called. A release rehearses it.")
    print(f"missing: {missing or 'none'}")
    print(set_outputs({"missing": missing}), file=sys.stderr)


@group.command()
def project() -> None:
    """Say which environments config/project.yaml names: `first`, which is deployed first, and `last`, which users meet.

    In GitHub Actions they are outputs of the step, for what comes after."""
    from sluice.core.project import load_project

    first, last = load_project(Workspace.find().config).environments
    print(f"first: {first}\nlast: {last}")
    print(set_outputs({"first": first, "last": last}), file=sys.stderr)


@group.command()
def issue(
    needs: Annotated[str, typer.Option(help="The context `needs` as JSON.", envvar="NEEDS")],
    title: Annotated[str, typer.Option(help="Title of the issue.")],
    marker: Annotated[str, typer.Option(help="The word that the issue is found by.")],
) -> None:
    """Open or update one issue while a job of this run fails; close it when all succeed.

    Needs GITHUB_TOKEN with the right `issues: write`."""
    from sluice.github.tracked_issue import report_trouble

    said = report_trouble(title, needs, os.environ, marker=marker)
    print(f"{said.message} {said.url or ''}".rstrip())
