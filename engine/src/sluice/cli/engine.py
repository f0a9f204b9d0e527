"""The `sluice engine` commands."""

from __future__ import annotations

import typer

from sluice.core.workspace import Workspace

group = typer.Typer(no_args_is_help=True, help="Manage the engine's files, which projects don't edit.")


@group.command("check")
def engine_check() -> None:
    """List edited engine files and what to use instead.

    In the template itself, edits are normal; there, the command updates the lists of the engine's files."""
    from sluice.core.errors import SluiceError, ValidationErrors
    from sluice.core.project import load_project
    from sluice.template.owned import OWNED, edits, list_files, read_list, refused, write_lists

    workspace = Workspace.find()
    project = load_project(workspace.config)
    files = list_files(workspace.root, untracked=project.template is not None)
    if project.template is None:
        if changed := write_lists(workspace.root, files):
            raise SluiceError(f"wrote {' and '.join(changed)}", remedy="commit it with the edit")
        print("the lists of the engine's files are up to date")
        return
    found = edits(workspace.root, files)
    wrong = refused(found, project.adopted, read_list(workspace.root, OWNED))
    if wrong:
        raise ValidationErrors(
            "files of the engine were edited",
            [str(edit) for edit in wrong],
            remedy="`git checkout` brings a file back; an upgrade would replace it",
        )
    for edit in found:
        print(f"{edit.path}: {edit.kind}; this project has adopted it")
    print("no file of the engine was edited")
