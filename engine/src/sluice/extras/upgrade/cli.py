"""The `sluice upgrade` command, and the `sluice engine` commands that install, vendor and pack the engine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from sluice.core.workspace import Workspace


def upgrade(
    source: Annotated[str, typer.Option("--from", help="Template: OWNER/NAME or URL; default: the recorded one.")] = "",
    to: Annotated[str, typer.Option(help="Template version; default: the newest.")] = "",
    discard: Annotated[bool, typer.Option("--discard-edits", help="Discard edits of the engine's files.")] = False,
    publish: Annotated[bool, typer.Option("--publish", help="Push the branch and open or update its PR.")] = False,
) -> None:
    """Upgrade the engine: engine/ and the files in engine/OWNED, as one commit on a branch.

    Your own files and the working tree stay untouched. The upgrade refuses to lose an edit of the engine."""
    from sluice.core.errors import SluiceError
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
    app.command()(upgrade)
    groups["engine"].command("install")(engine_install)
    groups["engine"].command("vendor")(engine_vendor)
    groups["engine"].command("pack")(engine_pack)
