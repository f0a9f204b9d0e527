"""The `sluice manifests` commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sluice.core.workspace import Workspace

group = typer.Typer(no_args_is_help=True, help="Render and check the manifests in k8s/.")
Overlays = Annotated[list[Path] | None, typer.Argument(help="Kustomization folders; default: every overlay.")]


@group.command("render")
def render_overlay(overlay: Annotated[Path, typer.Argument(help="Kustomization folder.")]) -> None:
    """Print the manifests of an overlay as a cluster gets them."""
    from sluice.cluster.manifests import render

    print(render(overlay), end="")


@group.command()
def check(overlays: Overlays = None) -> None:
    """Render and validate overlays; unknown keys, kinds without a schema and images without a digest are errors.

    A digest of zeros is valid: a deployment replaces it with the digest of its release."""
    from sluice.cluster.manifests import parse, render, unpinned, validate
    from sluice.core.errors import ValidationErrors

    root = Workspace.find().root
    for overlay in overlays or sorted(path.parent for path in root.glob("k8s/overlays/*/kustomization.yaml")):
        documents = parse(render(overlay))
        validate(documents, root / "engine" / "schemas" / "cluster")
        if loose := unpinned(documents):
            raise ValidationErrors(
                str(overlay), loose, remedy="name each image by digest under `images:` of the overlay"
            )
        print(f"{overlay}: {len(documents)} manifests, no fault")
