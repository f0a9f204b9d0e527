"""The `sluice init` and `sluice extras` commands."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sluice.core.errors import SluiceError
from sluice.core.extras import EXTRAS, extras, hooks, require_known, with_dependents
from sluice.core.workspace import Workspace

if TYPE_CHECKING:
    from sluice.core.project import Project

TEMPLATE_ONLY = "engine_tests"  # the template's own work, which no project wants


def init(
    name: Annotated[
        str, typer.Option(help="Value of the label `project`; namespaces, buckets and roles start with it.")
    ] = "",
    organisation: Annotated[str, typer.Option(help="Owner of the repository on GitHub.")] = "",
    image: Annotated[str, typer.Option(help="Image repository: ghcr.io/OWNER/NAME.")] = "",
    region: Annotated[str, typer.Option(help="AWS region.")] = "",
    environments: Annotated[str, typer.Option(help="FIRST,LAST: the first to deploy to, and the one for users.")] = "",
    source: Annotated[str, typer.Option("--from", help="Template: OWNER/NAME or URL; default: GitHub's record.")] = "",
    without_starter_data: Annotated[
        bool, typer.Option("--without-starter-data", help="Also remove the starter data and its remote.")
    ] = False,
    without: Annotated[str, typer.Option(help="Parts to switch off, as NAME,NAME, with those that need them.")] = "",
    engine: Annotated[
        str, typer.Option(help="`installed` (from its release; a new project's default), `vendored` or a wheel.")
    ] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the changes; write nothing.")] = False,
) -> None:
    """Name this project in config/project.yaml and the overlays, in one staged change.

    On a terminal, it prompts for missing names; elsewhere they stay. Running it again changes nothing."""
    from sluice.core.project import TemplateSource, load_project
    from sluice.template.init_project import apply, plan, require_clean

    workspace = Workspace.find()
    root = workspace.root
    if not dry_run:
        require_clean(root)
    now = load_project(workspace.config)
    given = {"name": name, "organisation": organisation, "image": image}
    given |= {"region": region, "environments": environments}
    off = set(filter(None, without.split(",")))
    require_known(off)
    project, how = now, engine
    if any(given.values()) or not off:
        project = _chosen(now, given)
        template = now.template or TemplateSource()
        project = project.model_copy(update={"template": TemplateSource(repository=source or template.repository)})
        off |= {TEMPLATE_ONLY}
        how = engine or ("" if now.template else "installed")
    off = with_dependents(off | set(now.without))
    project = project.model_copy(update={"without": tuple(sorted(off))})
    repository = source or (now.template.repository if now.template else now.repository)
    hold = _engine(root, how, repository, off, dry_run=dry_run, asked=bool(engine))
    planned = plan(root, project, starter_data=not without_starter_data)
    if planned.empty:
        print(hold() or "nothing to change: these are the names of the project")
        return
    for key in (*given, "without"):
        if getattr(now, key) != getattr(project, key):
            print(f"{key}: {_shown(getattr(now, key))} -> {_shown(getattr(project, key))}")
    for change in planned.changes:
        print(f"  {change.old}" + (f" -> {change.new}" if change.new != change.old else ""))
    for path in planned.removed:
        print(f"  gone  {path}")
    count = f"{len(planned.changes)} files changed, {len(planned.removed)} removed"
    if dry_run:
        print(f"{count}, if it were not a dry run")
        return
    apply(root, planned)
    print(f"{count}; staged, not committed")
    print(*filter(None, [hold(), "next: `make check` and `make test`, then commit"]), sep="\n")
    print("undo: git reset --hard")
    if "data.dvc" in planned.removed:
        print(_INSTEAD_OF_THE_STARTER_DATA)


def list_extras() -> None:
    """List the optional parts, their purpose and whether they are on; `sluice init --without` switches them off."""
    for name, extra in EXTRAS.items():
        needs = f" (needs {', '.join(extra.needs)})" if extra.needs else ""
        print(f"{name:13}  {'on ' if name in extras() else 'off'}  {extra.summary}{needs}")


def _engine(root: Path, how: str, repository: str, off: set[str], *, dry_run: bool, asked: bool) -> Callable[[], str]:
    """Prepare where the project has its engine; return what changes that, and says so.

    If no wheel matches this engine, as before the first release, it stays in git unless `--engine` asks for a wheel."""
    if not how or dry_run:
        return str
    if "upgrade" in off:
        if how == "vendored" or not asked:
            return str
        raise SluiceError("an installed engine needs the part `upgrade`", remedy="keep it, or pass --engine vendored")
    try:
        finish: Callable[[], str] = hooks("hold_engine")["upgrade"](root, how, repository)
        return finish
    except SluiceError as error:
        if asked:
            remedy = f"{error.remedy}; --from names the template, and --engine vendored keeps the engine in git"
            raise SluiceError(error.message, remedy=remedy) from None
        reason = error.message.strip().splitlines()[-1]
        said = f"the engine stays in git: {reason}\n`sluice engine install` takes it from a wheel later"
        return lambda: said


_INSTEAD_OF_THE_STARTER_DATA = """\
put your own data in place of the starter data:
  1. data/corpus/*.md, data/train.jsonl, data/eval.jsonl and data/guard/ (engine/docs/reference/data.md; `data import`
  helps)
  2. .venv/bin/dvc remote add --default --force data s3://BUCKET/dvc   (docs/aws.md makes the bucket)
  3. .venv/bin/sluice data push, then commit data.dvc and .dvc/config
until then `make release` and the tests that clone the repository have nothing to work with"""


def _shown(value: str | tuple[str, ...]) -> str:
    return value if isinstance(value, str) else ",".join(value)


def _chosen(current: Project, given: dict[str, str]) -> Project:
    """Return the current names, updated with the given ones; prompt on a terminal and always validate."""
    from pydantic import ValidationError

    from sluice.core.errors import ValidationErrors
    from sluice.core.project import Project

    asking = sys.stdin.isatty() and sys.stdout.isatty()
    values = current.model_dump(mode="json")
    for key, value in given.items():
        default = values[key]
        if key == "image" and default.endswith(f"/{current.repository.lower()}"):  # it follows the names
            host = default.removesuffix(f"/{current.repository.lower()}")
            default = f"{host}/{values['organisation']}/{values['name']}".lower()
        if key == "environments":
            default = ",".join(default)
        chosen = value or (typer.prompt(key, default=default) if asking else default)
        values[key] = chosen.split(",") if key == "environments" else chosen
    try:
        return Project.model_validate(values)
    except ValidationError as error:
        faults = [f"--{fault['loc'][0]}: {fault['msg'].removeprefix('Value error, ')}" for fault in error.errors()]
        raise ValidationErrors("names", faults) from None
