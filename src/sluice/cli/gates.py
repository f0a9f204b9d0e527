"""`sluice gates ...`"""

from __future__ import annotations

import typer

from sluice.core.workspace import Workspace

group = typer.Typer(no_args_is_help=True, help="The limits of config/gates.yaml.")


@group.command("sync")
def gates_sync() -> None:
    """Write the limits of config/gates.yaml into the analysis templates of k8s/."""
    from sluice.rollout.limits import sync

    workspace = Workspace.find()
    changed = sync(workspace.config / "gates.yaml", workspace.root / "k8s" / "analysis")
    print("\n".join(f"wrote {path.relative_to(workspace.root)}" for path in changed) or "nothing changed")
