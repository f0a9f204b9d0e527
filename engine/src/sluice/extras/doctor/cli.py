"""The `sluice doctor` command, which reports missing programs, files, permissions and settings."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from sluice.core.workspace import Workspace

_SIGNS = {"ok": "ok", "missing": "MISSING", "not verified": "NOT VERIFIED", "optional": "optional"}


def doctor(
    targets: Annotated[list[str] | None, typer.Argument(help="local, github, aws, cluster; default: all.")] = None,
    env: Annotated[list[str] | None, typer.Option("--env", help="Overlays to check; default: both.")] = None,
    context: Annotated[str, typer.Option(help="Context in the kubeconfig; default: the current one.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    fix: Annotated[bool, typer.Option("--fix", help="GitHub only: show the changes; with --yes, make them.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --fix: make the changes.")] = False,
    variables: Annotated[
        list[str] | None, typer.Option("--set", help="With --fix: set a variable, [ENVIRONMENT/]NAME=VALUE.")
    ] = None,
) -> None:
    """Report what is missing on this machine, on GitHub, in AWS and in the cluster, and how to fix it.

    Exit code 1 if anything is missing or can't be checked."""
    from sluice.cli.common import print_json
    from sluice.core.errors import SluiceError
    from sluice.core.project import load_project
    from sluice.core.settings import nearest
    from sluice.extras.doctor import aws, cluster, github, local
    from sluice.extras.doctor.check import DiagnosisScope

    checks = {"local": local.check, "github": github.check, "aws": aws.check, "cluster": cluster.check}
    if (fix and (targets or ["github"]) != ["github"]) or ((yes or variables) and not fix):
        raise SluiceError("--fix works for GitHub only", remedy="sluice doctor github --fix [--set …] [--yes]")
    chosen = targets or (["github"] if fix else list(checks))
    for target in chosen:
        if target not in checks:
            known = ", ".join(checks)
            raise SluiceError(f"no target {target!r}{nearest(target, list(checks))}", remedy=f"there are {known}")
    workspace = Workspace.find()
    names = load_project(workspace.config)
    scope = DiagnosisScope(workspace.root, names, os.environ, tuple(env or names.environments), context)
    found = {target: list(checks[target](scope)) for target in chosen}
    if fix and _mend(scope, found["github"], variables or [], yes=yes):
        found = {"github": list(github.check(scope))}
    if as_json:
        fields = ("what", "state", "found", "fix")
        print_json({name: [{key: getattr(one, key) for key in fields} for one in each] for name, each in found.items()})
    else:
        _show(found)
    if not all(one.good for listed in found.values() for one in listed):
        raise typer.Exit(1)


def _mend(scope: Any, found: list[Any], variables: list[str], *, yes: bool) -> bool:
    """Print each change to standard error and, with `yes`, make it; return True if any was tried."""
    from sluice.extras.doctor.github import repository_of, wanted_variables
    from sluice.extras.doctor.github_changes import apply

    repository = repository_of(scope)
    wanted = wanted_variables(scope, repository, variables) if variables else []
    fixed = [one for one in (*found, *wanted) if one.changes]
    for one in fixed:
        print(f"{one.what}: {one.found}", file=sys.stderr)
        for change in one.changes:
            print(f"  {change.command(repository)}", file=sys.stderr)
    if not fixed:
        print("nothing to change that can be changed from here", file=sys.stderr)
    elif not yes:
        print("nothing was changed: --yes makes these changes", file=sys.stderr)
    else:
        for line in apply(repository, fixed, scope.environment):
            print(line, file=sys.stderr)
    return bool(fixed) and yes


def _show(found: dict[str, list[Any]]) -> None:
    for target, checks in found.items():
        bad = [one for one in checks if not one.good]
        count = f"{len(bad)} of {len(checks)} checks not" if bad else f"{len(checks)} checks"
        print(f"{target}: {count} passed")
        width = max(len(one.what) for one in checks)
        for one in checks:
            print(f"  {_SIGNS[one.state]:12}  {one.what:{width}}  {one.found}")
            if one.fix and one.state != "ok":
                print(f"  {'':12}  {'':{width}}  -> {one.fix}")


def register(app: typer.Typer, _: Mapping[str, typer.Typer]) -> None:
    app.command()(doctor)
