"""`sluice manifests`: renders an overlay of k8s/ and validates it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sluice.core.workspace import Workspace

group = typer.Typer(no_args_is_help=True, help="The manifests in k8s/: render and check.")
Overlays = Annotated[list[Path] | None, typer.Argument(help="Folders with a kustomization; default: every overlay.")]


@group.command("render")
def render_overlay(overlay: Annotated[Path, typer.Argument(help="Folder with a kustomization.")]) -> None:
    """Print what a cluster would get of an overlay."""
    from sluice.cluster.manifests import render

    print(render(overlay), end="")


@group.command()
def check(overlays: Overlays = None) -> None:
    """Render and validate overlays: an unknown key, a kind without a schema, an image without a digest is an error.

    A digest of zeros is taken: it stands where a deployment puts the digest of its release."""
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
