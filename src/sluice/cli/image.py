"""`sluice image ...`"""

from __future__ import annotations

from typing import Annotated

import typer

from sluice.core.workspace import Workspace

group = typer.Typer(help="The images: one serves releases, one judges their canaries.")


@group.callback()
def image() -> None:
    """The images: one serves releases, one judges their canaries."""


@group.command("build")
def image_build(
    base: Annotated[
        str, typer.Option(help="Base image by digest, NAME@sha256:…", envvar="SLUICE_IMAGE_BASE", show_default=False)
    ] = "",
    tag: Annotated[
        str, typer.Option(help="Name of the serving image; the other's ends with -load.")
    ] = "localhost/sluice",
    options: Annotated[list[str] | None, typer.Argument(help="After `--`: further options for buildah.")] = None,
) -> None:
    """Build both images with buildah and write their SBOMs, build/image/sbom.cdx.json and sbom-load.cdx.json.

    Their ids are the last two lines."""
    from sluice.release.image import TARGETS, build

    root = Workspace.find().root
    images = [build(root, base, tag, options or [], target=target) for target in TARGETS]
    for built in images:
        print(f"{built.name}: {built.size / 1e6:.0f} MB in {len(built.layers)} layers, built in {built.seconds:.0f} s")
        print(f"SBOM: {built.sbom}")
    for built in images:
        print(built.id)
