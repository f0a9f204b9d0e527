"""`sluice image ...`"""

from __future__ import annotations

import os
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


@group.command("push")
def image_push(
    to: Annotated[str, typer.Option(help="Name in a registry, without a tag, such as ghcr.io/OWNER/NAME.")],
    image: Annotated[str, typer.Option(help="Name of the local image.")] = "localhost/sluice",
) -> None:
    """Push the serving image, tagged with the commit, and print its digest. One that was pushed for this commit stays.

    On GitHub GITHUB_ACTOR and GITHUB_TOKEN open the registry; outputs are `image`, `name` and `digest`."""
    from sluice.forge.outputs import write_outputs
    from sluice.release.image import push

    user, token = os.environ.get("GITHUB_ACTOR", ""), os.environ.get("GITHUB_TOKEN", "")
    pushed = push(Workspace.find().root, image, to.lower(), user=user, token=token)
    write_outputs({"image": pushed.image, "name": pushed.name, "digest": pushed.digest}, os.environ)
    print(pushed.image if pushed.new else f"{pushed.image}: pushed before")
