"""`sluice models ...`"""

from __future__ import annotations

import typer

from sluice.core.workspace import Workspace

group = typer.Typer(no_args_is_help=True, help="Fetch and verify models.")


@group.command("pull")
def models_pull() -> None:
    """Fetch every model of config/models.yaml into the cache and check its sha256."""
    from sluice.llm.models import ensure, load_models

    workspace = Workspace.find()
    for role, spec in load_models(workspace.config / "models.yaml"):
        print(f"{role}: {spec.name} ({spec.licence}) {ensure(spec, workspace.cache)}")
