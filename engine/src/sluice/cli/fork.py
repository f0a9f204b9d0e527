"""`sluice init` and `sluice upgrade`: this repository and the template that it was made from."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from sluice.core.workspace import Workspace

Name = Annotated[str, typer.Option(help="Package, command, Kubernetes objects, metrics, variables: my-assistant.")]
Organisation = Annotated[str, typer.Option(help="Owner of the repository on GitHub.")]
Image = Annotated[str, typer.Option(help="Repository of the image: ghcr.io/OWNER/NAME.")]
Region = Annotated[str, typer.Option(help="Region of AWS.")]
Environments = Annotated[str, typer.Option(help="FIRST,LAST: what is deployed first, and what users meet.")]


def init(
    name: Name = "",
    organisation: Organisation = "",
    image: Image = "",
    region: Region = "",
    environments: Environments = "",
    without_starter_data: Annotated[
        bool, typer.Option("--without-starter-data", help="Also remove the starter data and their remote.")
    ] = False,
    without: Annotated[str, typer.Option(help="Extras to take out, and those that need them: redteam,sweep.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change; write nothing.")] = False,
) -> None:
    """Give this repository names of its own, everywhere, in one staged change. What is left out stays as it is.

    On a terminal, names that are left out are asked for. A second time nothing changes."""
    from sluice.template.init import apply, plan, require_clean
    from sluice.template.names import load_record

    root = Workspace.find().root
    record = load_record(root)
    given = {"name": name, "organisation": organisation, "image": image}
    given |= {"region": region, "environments": environments}
    if without:
        _leave_out(root, without.split(","), dry_run=dry_run)
        if not any(given.values()):
            return
    names = _chosen(record.names, given)
    if not dry_run:
        require_clean(root)
    planned = plan(root, record, names, starter_data=not without_starter_data)
    if planned.empty:
        print("nothing to change: these are the names of the repository")
        return
    for key, value in names:
        if value != getattr(record.names, key):
            print(f"{key}: {_shown(getattr(record.names, key))} -> {_shown(value)}")
    for change in planned.changes:
        print(f"{change.lines:6}  {change.old}" + (f" -> {change.new}" if change.new != change.old else ""))
    for path in planned.removed:
        print(f"  gone  {path}")
    moved = sum(change.old != change.new for change in planned.changes)
    count = f"{len(planned.changes)} files changed, {moved} of them moved, {len(planned.removed)} removed"
    if dry_run:
        print(f"{count}, if it were not a dry run")
        return
    left = apply(root, planned)
    print(f"{count}; staged, not committed")
    for line in left:
        print(f"not done: {line}")
    print(f"next: `make setup` installs `{names.name}`, then `make check` and `make test-unit`, and commit")
    print("undo: git reset --hard")
    if planned.removed:
        print(_INSTEAD_OF_THE_STARTER_DATA)


def _leave_out(root: Path, names: list[str], *, dry_run: bool) -> None:
    """Takes extras out of the checkout and stages that."""
    from sluice.core.git import run
    from sluice.template.extras import remove, with_dependents
    from sluice.template.init import require_clean

    chosen = with_dependents(names)
    if dry_run:
        print(f"{', '.join(chosen)} would go")
        return
    require_clean(root)
    changed = remove(root, chosen)
    run(root, "add", "--all")
    print(f"{', '.join(chosen)}: gone, {len(changed)} paths changed or removed; staged, not committed")


def upgrade(
    source: Annotated[str, typer.Option("--from", help="OWNER/NAME or address of the template; default: known.")] = "",
    to: Annotated[str, typer.Option(help="Version; default: the newest.")] = "",
    publish: Annotated[bool, typer.Option("--publish", help="Push the branch and open or update its PR.")] = False,
) -> None:
    """Merge a later version of the template into a branch, three ways, on the names of this repository.

    Both sides of a conflict stay in the file, between markers. The working tree is not touched."""
    from sluice.core.errors import SluiceError
    from sluice.core.git import run
    from sluice.github.job_summary import write_job_summary
    from sluice.github.pulls import Pull, closed_before, origin_of, upsert_pull
    from sluice.template.names import load_record
    from sluice.template.upgrade import BRANCH, describe, prepare, push

    root = Workspace.find().root
    record = load_record(root)
    origin = source or record.template.repository or (origin_of(os.environ) if publish else "")
    if not origin:
        raise SluiceError("nothing says where the template is", remedy="name it: --from OWNER/NAME")
    made = prepare(root, record, origin, to)
    if made is None:
        print(f"template {record.template.version} is in this repository; there is nothing newer")
        return
    text = describe(made)
    print(text, end="")
    if not publish:
        run(root, "branch", "--force", BRANCH, made.commit, remedy=f"leave the branch {BRANCH} first")
        print(f"\nbranch {BRANCH}: git switch {BRANCH}")
        return
    write_job_summary(text, os.environ)
    pull = Pull(BRANCH, made.title, text)
    if closed := closed_before(pull, os.environ):
        print(f"closed by a person, not opened again: {closed}")
        return
    print(push(root, made, os.environ))
    posted = upsert_pull(pull, os.environ)
    print(f"{posted.message}: {posted.url}")


_INSTEAD_OF_THE_STARTER_DATA = """\
put your own data in place of the starter data:
  1. data/corpus/*.md, data/train.jsonl, data/eval.jsonl and data/guard/ (engine/docs/reference/data.md; `data import`
  helps)
  2. .venv/bin/dvc remote add --default --force data s3://BUCKET/dvc   (docs/aws.md makes the bucket)
  3. .venv/bin/sluice data push, then commit data.dvc and .dvc/config
until then `make release` and the tests that clone the repository have nothing to work with"""


def _shown(value: str | tuple[str, ...]) -> str:
    return value if isinstance(value, str) else ",".join(value)


def _chosen(current: Any, given: dict[str, str]) -> Any:
    """The names in use with the given ones in their place; asked for on a terminal, checked in any case."""
    from pydantic import ValidationError

    from sluice.core.errors import Faults
    from sluice.template.names import Names

    asking = sys.stdin.isatty() and sys.stdout.isatty()
    values = dict(current)
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
        return Names.model_validate(values)
    except ValidationError as error:
        faults = [f"--{fault['loc'][0]}: {fault['msg'].removeprefix('Value error, ')}" for fault in error.errors()]
        raise Faults("names", faults) from None
