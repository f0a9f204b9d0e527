"""The `sluice models` commands."""

from __future__ import annotations

import typer

from sluice.core.workspace import Workspace

group = typer.Typer(no_args_is_help=True, help="Fetch and verify models.", callback=lambda: None)


@group.command("pull")
def models_pull() -> None:
    """Fetch every model in config/models.yaml into the cache and verify its sha256."""
    from sluice.llm.model_files import ensure, ensure_source, load_models

    workspace = Workspace.find()
    for role, spec in load_models(workspace.config / "models.yaml"):
        print(f"{role}: {spec.name} ({spec.licence}) {ensure(spec, workspace.cache)}")
        if spec.weights:
            print(f"{role}.weights: {ensure_source(spec.weights, workspace.cache)}")
