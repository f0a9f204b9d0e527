"""`sluice upgrade`: later versions of the template."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from sluice.core.workspace import Workspace


def upgrade(
    source: Annotated[str, typer.Option("--from", help="OWNER/NAME or address of the template; default: known.")] = "",
    to: Annotated[str, typer.Option(help="Version; default: the newest.")] = "",
    discard: Annotated[bool, typer.Option("--discard-edits", help="Give up edits of the engine's files.")] = False,
    publish: Annotated[bool, typer.Option("--publish", help="Push the branch and open or update its PR.")] = False,
) -> None:
    """Take a later engine: engine/ and the files of engine/OWNED, as one commit on a branch.

    Nothing of your own is touched, nor is the working tree. An edit of the engine that would be lost is refused."""
    from sluice.core.errors import SluiceError
    from sluice.core.git import run
    from sluice.core.project import load_project
    from sluice.extras.pull_requests.branch_pull_request import PullRequestText, closed_before, origin_of, upsert_pull
    from sluice.extras.upgrade.upgrade_engine import BRANCH, describe, prepare, push
    from sluice.github.job_summary import write_job_summary

    workspace = Workspace.find()
    root, project = workspace.root, load_project(workspace.config)
    origin = source or (project.template.repository if project.template else "")
    origin = origin or (origin_of(os.environ) if publish else "")
    if not origin and publish:  # the template itself, or a copy that was pushed rather than made from it
        said = "Nothing to take: nothing says where the template is; `template:` in config/project.yaml does"
        write_job_summary(said, os.environ)
        print(said)
        return
    if not origin:
        raise SluiceError("nothing says where the template is", remedy="name it: --from OWNER/NAME")
    made = prepare(root, project, origin, to, discard=discard)
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
    pull = PullRequestText(BRANCH, made.title, text)
    if closed := closed_before(pull, os.environ):
        print(f"closed by a person, not opened again: {closed}")
        return
    print(push(root, made, os.environ))
    posted = upsert_pull(pull, os.environ)
    print(f"{posted.message}: {posted.url}")


def register(app: typer.Typer, groups: dict[str, typer.Typer]) -> None:
    """Adds the command."""
    del groups
    app.command()(upgrade)
