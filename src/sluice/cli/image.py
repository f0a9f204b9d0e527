"""`sluice image ...`"""

from __future__ import annotations

from typing import Annotated

import typer

from sluice.core.workspace import Workspace

group = typer.Typer(help="The serving image.")


@group.callback()
def image() -> None:
    """The serving image."""


@group.command("build")
def image_build(
    base: Annotated[
        str, typer.Option(help="Base image by digest, NAME@sha256:…", envvar="SLUICE_IMAGE_BASE", show_default=False)
    ] = "",
    tag: Annotated[str, typer.Option(help="Name of the image.")] = "localhost/sluice",
    options: Annotated[list[str] | None, typer.Argument(help="After `--`: further options for buildah.")] = None,
) -> None:
    """Build the serving image with buildah and write its SBOM to build/image/sbom.cdx.json."""
    from sluice.release.image import build

    built = build(Workspace.find().root, base, tag, options or [])
    print(f"{built.name}: {built.size / 1e6:.0f} MB in {len(built.layers)} layers, built in {built.seconds:.0f} s")
    print(f"SBOM: {built.sbom}")
    print(built.id)
