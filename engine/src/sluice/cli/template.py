"""The `sluice init` command, which names a project and removes extras, and `sluice extras`, which lists them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sluice.core.extras import extras, hooks
from sluice.core.workspace import Workspace

if TYPE_CHECKING:
    from sluice.core.project import Project

TEMPLATE_ONLY = "engine_tests"  # the template's own work, which no project wants

Name = Annotated[str, typer.Option(help="Value of the label `project`; namespaces, buckets and roles start with it.")]
Organisation = Annotated[str, typer.Option(help="Owner of the repository on GitHub.")]
Image = Annotated[str, typer.Option(help="Image repository: ghcr.io/OWNER/NAME.")]
Region = Annotated[str, typer.Option(help="AWS region.")]
Environments = Annotated[str, typer.Option(help="FIRST,LAST: the first to deploy to, and the one for users.")]
Source = Annotated[str, typer.Option("--from", help="Template: OWNER/NAME or URL; default: GitHub's record.")]


def init(
    name: Name = "",
    organisation: Organisation = "",
    image: Image = "",
    region: Region = "",
    environments: Environments = "",
    source: Source = "",
    without_starter_data: Annotated[
        bool, typer.Option("--without-starter-data", help="Also remove the starter data and its remote.")
    ] = False,
    without: Annotated[
        str, typer.Option(help="Extras to remove, as NAME,NAME, with those that need them; `sluice extras` lists all.")
    ] = "",
    engine: Annotated[str, typer.Option(help="`vendored` (in git), `installed` (from its release) or a wheel.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the changes; write nothing.")] = False,
) -> None:
    """Name this project in config/project.yaml and the overlays, in one staged change.

    On a terminal, it prompts for missing names; elsewhere they stay. Running it again changes nothing."""
    from sluice.core.project import TemplateSource, load_project
    from sluice.template.extras import with_dependents
    from sluice.template.init_project import apply, plan, require_clean

    workspace = Workspace.find()
    if not dry_run:
        require_clean(workspace.root)
    now = load_project(workspace.config)
    given = {"name": name, "organisation": organisation, "image": image}
    given |= {"region": region, "environments": environments}
    if without:
        _leave_out(workspace.root, without.split(","), dry_run=dry_run)
        if not any(given.values()):
            return
    template = now.template or TemplateSource()
    template = TemplateSource(repository=source or template.repository)
    project = _chosen(now, given).model_copy(update={"template": template})
    hold: Callable[[], str] = str
    if engine and not dry_run:
        with_dependents(["upgrade"])  # SluiceError where that was left out
        hold = hooks("hold_engine")["upgrade"](workspace.root, engine, template.repository)
    planned = plan(workspace.root, project, starter_data=not without_starter_data)
    if planned.empty:
        print(hold() or "nothing to change: these are the names of the project")
        return
    for key in given:
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
    apply(workspace.root, planned)
    print(f"{count}; staged, not committed")
    if TEMPLATE_ONLY in extras():
        _leave_out(workspace.root, [TEMPLATE_ONLY])
    print(*filter(None, [hold(), "next: `make check` and `make test`, then commit"]), sep="\n")
    print("undo: git reset --hard")
    if planned.removed:
        print(_INSTEAD_OF_THE_STARTER_DATA)


def list_extras() -> None:
    """List the installed extras and their purpose; `sluice init --without` removes them."""
    for name, extra in extras().items():
        needs = f" (needs {', '.join(extra.needs)})" if extra.needs else ""
        print(f"{name:10}  {extra.summary}{needs}")


def _leave_out(root: Path, names: list[str], *, dry_run: bool = False) -> None:
    """Remove extras from the checkout, record that in config/project.yaml and stage it."""
    from sluice.core.atomic_files import write_atomic
    from sluice.core.git import run
    from sluice.core.project import PROJECT, edit_project, load_project
    from sluice.template.extras import remove, with_dependents
    from sluice.template.owned import list_files, write_lists

    chosen = with_dependents(names)
    if dry_run:
        print(f"{', '.join(chosen)} would go")
        return
    changed = remove(root, chosen, leave=set(list_files(root)) - set(list_files(root, untracked=False)))
    gone = sorted({*load_project(root / "config").without, *chosen})
    write_atomic(root / PROJECT, edit_project((root / PROJECT).read_text(encoding="utf-8"), {"without": gone}))
    write_lists(root, list_files(root, untracked=False), listed=True)
    run(root, "add", "--update")
    print(f"{', '.join(chosen)}: gone, {len(changed)} paths changed or removed; staged, not committed")


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
