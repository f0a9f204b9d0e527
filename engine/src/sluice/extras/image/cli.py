"""The `sluice image` commands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer

from sluice.cli.common import set_outputs
from sluice.core.workspace import Workspace

group = typer.Typer(help="Build and push the images that serve releases, judge canaries and train.")
Training = Annotated[
    bool,
    typer.Option("--training", help="Use the image for training jobs instead; its name ends with -training."),
]


@group.command("build")
def image_build(
    base: Annotated[
        str, typer.Option(help="Base image by digest: NAME@sha256:…", envvar="SLUICE_IMAGE_BASE", show_default=False)
    ] = "",
    tag: Annotated[
        str, typer.Option(help="Name of the serving image; the other name ends with -load.")
    ] = "localhost/sluice",
    training: Training = False,
    options: Annotated[list[str] | None, typer.Argument(help="More options for buildah, after `--`.")] = None,
) -> None:
    """Build both images with buildah and write their SBOMs, build/image/sbom.cdx.json and sbom-load.cdx.json.

    The last lines of the output are the image ids."""
    from sluice.extras.image.container_image import build

    root = Workspace.find().root
    images = [build(root, base, tag, options or [], suffix=suffix) for suffix in _suffixes(training)]
    for built in images:
        print(f"{built.name}: {built.size / 1e6:.0f} MB in {len(built.layers)} layers, built in {built.seconds:.0f} s")
        print(f"SBOM: {built.sbom}")
    for built in images:
        print(built.id)


@group.command("push")
def image_push(
    to: Annotated[str, typer.Option(help="Name in a registry without a tag, such as ghcr.io/OWNER/NAME.")],
    image: Annotated[
        str, typer.Option(help="Name of the local serving image; the other name ends with -load.")
    ] = "localhost/sluice",
    training: Training = False,
) -> None:
    """Push both images, tagged with the commit, and print their digests.

    Images already pushed for this commit stay. Log in with GITHUB_ACTOR and GITHUB_TOKEN, or AWS credentials. Outputs
    on GitHub: `image`, `name`, `digest`; `load-` before them for the canary's judge, `training-` for training."""
    from sluice.extras.image.container_image import login, push, suffixed

    user, token = login(to.lower())
    for suffix in _suffixes(training):
        # The stack has one repository of images, where a tag never moves.
        there, tag = (to.lower(), suffix) if training else (suffixed(to.lower(), suffix), "")
        pushed = push(Workspace.find().root, suffixed(image, suffix), there, user=user, token=token, tag=tag)
        prefix = suffix.removeprefix("-") + "-" if suffix else ""
        found = {"image": pushed.image, "name": pushed.name, "digest": pushed.digest}
        set_outputs({prefix + key: value for key, value in found.items()})
        print(pushed.image if pushed.new else f"{pushed.image}: pushed before")


def _suffixes(training: bool) -> tuple[str, ...]:
    return ("-training",) if training else ("", "-load")


def register(app: typer.Typer, _: Mapping[str, typer.Typer]) -> None:
    app.add_typer(group, name="image")
