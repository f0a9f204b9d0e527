"""The `sluice gates` commands."""

from __future__ import annotations

import typer

from sluice.core.workspace import Workspace

group = typer.Typer(no_args_is_help=True, help="Apply the thresholds of config/gates.yaml.")


@group.command("sync")
def gates_sync() -> None:
    """Copy the thresholds of config/gates.yaml to k8s/base/analysis-limits.yaml, for the analyses in a cluster."""
    from sluice.rollout.analysis_limits import sync

    workspace = Workspace.find()
    out = workspace.root / "k8s" / "base" / "analysis-limits.yaml"
    changed = sync(workspace.config / "gates.yaml", workspace.engine / "k8s" / "analysis", out)
    print(f"wrote {out.relative_to(workspace.root)}" if changed else "nothing changed")
