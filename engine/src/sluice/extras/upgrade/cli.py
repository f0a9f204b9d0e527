"""The `sluice init` and `sluice upgrade` commands, and the `sluice engine` commands that install, vendor and pack the
engine."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sluice.core.errors import SluiceError, ValidationErrors
from sluice.core.extras import require_known, with_dependents
from sluice.core.workspace import Workspace

if TYPE_CHECKING:
    from sluice.core.project import Project


def init(
    name: Annotated[
        str, typer.Option(help="Value of the label `project`; namespaces, buckets and roles start with it.")
    ] = "",
    organisation: Annotated[str, typer.Option(help="Owner of the repository on GitHub.")] = "",
    image: Annotated[str, typer.Option(help="Image repository: ghcr.io/OWNER/NAME.")] = "",
    about: Annotated[str, typer.Option(help="What it answers from, such as: the documentation of httpx.")] = "",
    region: Annotated[str, typer.Option(help="AWS region.")] = "",
    environments: Annotated[str, typer.Option(help="FIRST,LAST: the first to deploy to, and the one for users.")] = "",
    source: Annotated[str, typer.Option("--from", help="Template: OWNER/NAME or URL; default: GitHub's record.")] = "",
    without_starter_data: Annotated[
        bool, typer.Option("--without-starter-data", help="Also remove the starter data, but for the guard's rows.")
    ] = False,
    without: Annotated[str, typer.Option(help="Parts to switch off, as NAME,NAME, with those that need them.")] = "",
    engine: Annotated[
        str, typer.Option(help="`installed` (from its release; a new project's default), `vendored` or a wheel.")
    ] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the changes; write nothing.")] = False,
) -> None:
    """Name this project in config/, prompts/ and the overlays, in one staged change.

    On a terminal, it prompts for missing names; elsewhere they stay. Running it again changes nothing."""
    from sluice.core.project import TemplateSource, load_project
    from sluice.extras.upgrade.init_project import apply, plan, require_clean

    workspace = Workspace.find()
    root = workspace.root
    if not dry_run:
        require_clean(root)
    now = load_project(workspace.config)
    given = {"name": name, "organisation": organisation, "about": about, "image": image}
    given |= {"region": region, "environments": environments}
    off = set(filter(None, without.split(",")))
    require_known(off)
    project, how = now, engine
    if any(given.values()) or not off:
        project = _chosen(now, given, own_data=without_starter_data and not now.template)
        template = now.template or TemplateSource()
        project = project.model_copy(update={"template": TemplateSource(repository=source or template.repository)})
        off |= {"engine_tests"}  # the template's own work, which no project wants
        how = engine or ("" if now.template else "installed")
    off = with_dependents(off | set(now.without))
    project = project.model_copy(update={"without": tuple(sorted(off))})
    repository = source or (now.template.repository if now.template else now.repository)
    said, hold = _engine(root, how, repository, off, asked=bool(engine))
    planned = plan(root, project, starter_data=not without_starter_data)
    if planned.empty:
        if not dry_run:
            hold()
        print(said or "nothing to change: these are the names of the project")
        return
    for key in (*given, "without"):
        if getattr(now, key) != getattr(project, key):
            print(f"{key}: {_shown(getattr(now, key))} -> {_shown(getattr(project, key))}")
    for change in planned.changes:
        print(f"  {change.old}" + (f" -> {change.new}" if change.new != change.old else ""))
    for path in planned.removed:
        if not path.startswith("dvc-store/"):
            print(f"  gone  {path}" + " and its files in dvc-store/" * (path == "data.dvc"))
    if said:
        print(said)
    count = f"{len(planned.changes)} files changed, {len(planned.removed)} removed"
    if dry_run:
        print(f"{count}, if it were not a dry run")
        return
    apply(root, planned)
    hold()
    print(f"{count}; staged, not committed\nnext: `make check` and `make test`, then commit\nundo: git reset --hard")
    if "data.dvc" in planned.removed:
        print("then bring your own documents and rows: docs/tutorial.md; until then `make release` has none")


def _engine(root: Path, how: str, repository: str, off: set[str], *, asked: bool) -> tuple[str, Callable[[], None]]:
    """Prepare where the project has its engine; say where, and return what takes it there.

    If no wheel matches this engine, as before the first release, it stays in git unless `--engine` asks for a wheel."""
    stays = "", lambda: None
    if not how or ("upgrade" in off and (how == "vendored" or not asked)):
        return stays
    if "upgrade" in off:
        raise SluiceError("an installed engine needs the part `upgrade`", remedy="keep it, or pass --engine vendored")
    from sluice.extras.upgrade.held_engine import prepare

    try:
        return prepare(root, how, repository)
    except SluiceError as error:
        if asked:
            remedy = f"{error.remedy}; --from names the template, and --engine vendored keeps the engine in git"
            raise SluiceError(error.message, remedy=remedy) from None
        reason = error.message.splitlines()[-1].strip()
        return f"the engine stays in git: {reason}\n`sluice engine install` takes it from a wheel later", stays[1]


def _shown(value: str | tuple[str, ...]) -> str:
    return value if isinstance(value, str) else ",".join(value)


def _chosen(current: Project, given: dict[str, str], *, own_data: bool = False) -> Project:
    """Return the current names, updated with the given ones; prompt on a terminal and always validate."""
    from pydantic import ValidationError

    from sluice.core.project import Project

    asking = sys.stdin.isatty() and sys.stdout.isatty()
    values = current.model_dump(mode="json")
    for key, value in given.items():
        default = values[key]
        if key == "image" and default.endswith(f"/{current.repository.lower()}"):  # it follows the names
            host = default.removesuffix(f"/{current.repository.lower()}")
            default = f"{host}/{values['organisation']}/{values['name']}".lower()
        if key == "about" and own_data:
            default = f"the documents of {values['name']}"
        if key == "environments":
            default = ",".join(default)
        chosen = value or (typer.prompt(key, default=default) if asking else default)
        values[key] = chosen.split(",") if key == "environments" else chosen
    try:
        return Project.model_validate(values)
    except ValidationError as error:
        faults = [f"--{fault['loc'][0]}: {fault['msg'].removeprefix('Value error, ')}" for fault in error.errors()]
        raise ValidationErrors("names", faults) from None


def upgrade(
    source: Annotated[str, typer.Option("--from", help="Template: OWNER/NAME or URL; default: the recorded one.")] = "",
    to: Annotated[str, typer.Option(help="Template version; default: the newest.")] = "",
    discard: Annotated[bool, typer.Option("--discard-edits", help="Discard edits of the engine's files.")] = False,
    publish: Annotated[bool, typer.Option("--publish", help="Push the branch and open or update its PR.")] = False,
) -> None:
    """Upgrade the engine: engine/ and the files in engine/OWNED, as one commit on a branch.

    Your own files and the working tree stay untouched. The upgrade refuses to lose an edit of the engine."""
    from sluice.core.git import run
    from sluice.core.project import load_project
    from sluice.extras.pull_requests.branch_pull_request import PullRequestText, closed_before, origin_of, upsert_pull
    from sluice.extras.upgrade.upgrade_engine import BRANCH, describe, prepare, push, title_of
    from sluice.github.workflow_run import write_job_summary

    workspace = Workspace.find()
    root, project = workspace.root, load_project(workspace.config)
    origin = source or (project.template.repository if project.template else "")
    origin = origin or (origin_of(os.environ) if publish else "")
    if not origin and publish:  # the template itself, or a copy that was pushed rather than made from it
        said = "Nothing to take: the template's address is unknown; `template:` in config/project.yaml does"
        write_job_summary(said, os.environ)
        print(said)
        return
    if not origin:
        raise SluiceError("the template's address is unknown", remedy="pass it: --from OWNER/NAME")
    made = prepare(root, origin, to, discard=discard)
    if made is None:
        print("this engine is the newest version of the template")
        return
    text = describe(made)
    print(text, end="")
    if not publish:
        run(root, "branch", "--force", BRANCH, made.commit, remedy=f"leave the branch {BRANCH} first")
        print(f"\nbranch {BRANCH}: git switch {BRANCH}")
        return
    write_job_summary(text, os.environ)
    pull = PullRequestText(BRANCH, title_of(made.new), text)
    if closed := closed_before(pull, os.environ):
        print(f"closed by a person, not opened again: {closed}")
        return
    print(push(root, made, os.environ))
    posted = upsert_pull(pull, os.environ)
    print(f"{posted.message}: {posted.url}")


def engine_install(
    source: Annotated[
        str, typer.Option("--from", help="Wheel: a file, a URL or `index`; default: the template's release.")
    ] = "",
) -> None:
    """Take engine/ out of git and pin its wheel in config/engine.lock, which `make` unpacks.

    The wheel must hold the files that are here, byte for byte. The change is staged; `git reset --hard` undoes it."""
    from sluice.core.project import load_project
    from sluice.extras.upgrade.held_engine import install

    workspace = Workspace.find()
    template = load_project(workspace.config).template
    print(install(workspace.root, source, template.repository if template else ""))


def engine_vendor() -> None:
    """Put engine/ back into git, with the files that config/engine.lock pins, and delete the lock.

    The change is staged; `git reset --hard` undoes it."""
    from sluice.extras.upgrade.held_engine import vendor

    print(vendor(Workspace.find().root))


def engine_pack(
    out: Annotated[Path, typer.Option(help="Folder for the wheel.")] = Path("dist"),
) -> None:
    """Build the wheel of the committed engine; the same commit gives the same bytes.

    In the template itself, it's the engine of a project that `sluice init` has named."""
    from sluice.core.digests import digest_of_file
    from sluice.extras.upgrade.engine_wheel import pack

    wheel = pack(Workspace.find().root, out)
    print(f"{wheel}\nsha256:{digest_of_file(wheel)}")


def register(app: typer.Typer, groups: dict[str, typer.Typer]) -> None:
    app.command()(init)
    app.command()(upgrade)
    groups["engine"].command("install")(engine_install)
    groups["engine"].command("vendor")(engine_vendor)
    groups["engine"].command("pack")(engine_pack)
