"""The `sluice ci` commands for workflow runs; engine/scripts/ci.py holds the steps that need no installation."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import Annotated

import typer

from sluice.cli.common import set_outputs, tell
from sluice.core.errors import SluiceError
from sluice.core.workspace import Workspace

group = typer.Typer(no_args_is_help=True, help="Decide and report in a GitHub workflow run.")


@group.command()
def keys() -> None:
    """List the provider keys that aren't set.

    Model calls and rehearsals need them; pull requests have none. Output on GitHub: `missing`, empty if all are set."""
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
    """Print the first and last environment of config/project.yaml, and the parts that are on.

    Releases deploy to `first` first; `last` serves users. In GitHub Actions, all are outputs of the step."""
    from sluice.core.extras import extras
    from sluice.core.project import load_project

    first, last = load_project(Workspace.find().config).environments
    parts = " ".join(extras())
    print(f"first: {first}\nlast: {last}\nparts: {parts}")
    print(set_outputs({"first": first, "last": last, "parts": parts}), file=sys.stderr)


@group.command()
def issue(
    needs: Annotated[str, typer.Option(help="The `needs` context as JSON.", envvar="NEEDS")],
    title: Annotated[str, typer.Option(help="Title of the issue.")],
    marker: Annotated[str, typer.Option(help="Marker that identifies the issue.")],
) -> None:
    """Open or update one issue while a job of this run fails; close it once all succeed.

    Requires GITHUB_TOKEN with the permission `issues: write`."""
    from sluice.github.tracked_issue import report_trouble

    said = report_trouble(title, needs, os.environ, marker=marker)
    print(f"{said.message} {said.url or ''}".rstrip())
