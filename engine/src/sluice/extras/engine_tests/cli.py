"""The `sluice engine publish` command, which publishes a version of the template.

A second packing gives the same bytes, or nothing is published. A wheel is never replaced: projects pin its bytes."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sluice.core.digests import digest_of_file
from sluice.core.errors import SluiceError
from sluice.core.workspace import Workspace

if TYPE_CHECKING:
    from sluice.github.github_client import CommentResult

_NOTES = """\
The engine as a wheel, for projects that have it installed: `sluice engine install`, `sluice upgrade`.

`sha256:{digest}` `{name}`

`gh attestation verify {name} --repo {repository}` says which run of which commit has made it."""


def engine_publish(
    tag: Annotated[str, typer.Argument(help="Tag of the version, such as v0.2.0.")],
    out: Annotated[
        Path, typer.Option(help="Folder for the wheel; an existing wheel must equal the packed one.")
    ] = Path("dist"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Pack and compare; publish nothing.")] = False,
) -> None:
    """Pack a template version's engine twice and attach the wheel to its tag's GitHub Release.

    A published wheel is never replaced. template-release.yml runs this."""
    from sluice.github.workflow_run import write_job_summary

    root = Workspace.find().root
    wheel = pack_twice(root, tag, out)
    said = f"{wheel}\nsha256:{digest_of_file(wheel)}\npacked twice, the same bytes"
    if not dry_run:
        posted = publish(root, tag, wheel, os.environ)
        said += f"\n{posted.message}: {posted.url}"
    write_job_summary(said, os.environ)
    print(said)


def pack_twice(root: Path, tag: str, out: Path) -> Path:
    """Pack the wheel of a tag twice, unless an earlier run left one; both must be the same bytes."""
    from sluice.extras.upgrade.engine_wheel import pack
    from sluice.template.owned import version_of

    if tag != f"v{version_of(root)}":
        said = f"the tag {tag} is not that of the engine, which is {version_of(root)}"
        remedy = "tag vVERSION of engine/pyproject.toml; a project removes this workflow with `sluice init`"
        raise SluiceError(said, remedy=remedy)
    with tempfile.TemporaryDirectory(prefix="engine-") as name:
        made = pack(root, Path(name))
        wheel = out / made.name
        other = wheel if wheel.is_file() else pack(root, Path(name) / "again")
        if made.read_bytes() != other.read_bytes():
            said = f"{made.name}: packed again it is {digest_of_file(made)}, not {digest_of_file(other)}"
            raise SluiceError(said, remedy="look for what differs, such as hatchling or zlib; nothing is published")
        if other != wheel:
            out.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(made, wheel)
        (out / f"{wheel.name}.sha256").write_text(f"{digest_of_file(wheel)}  {wheel.name}\n", encoding="utf-8")
    return wheel


def publish(root: Path, tag: str, wheel: Path, environment: Mapping[str, str]) -> CommentResult:
    """Attach the wheel and its sha256 to the GitHub Release of a tag, and keep a person's notes."""
    from sluice.core.git import run
    from sluice.github.github_client import open_repository, publish_release

    paths = (wheel, wheel.with_name(f"{wheel.name}.sha256"))
    repository = environment.get("GITHUB_REPOSITORY", "")
    notes = _NOTES.format(digest=digest_of_file(wheel), name=wheel.name, repository=repository)
    with open_repository(environment) as github:
        for release in (one for one in github.get_releases() if one.tag_name == tag and not one.draft):
            there = {asset.name: asset.digest for asset in release.assets if asset.state == "uploaded"}
            if wheel.name in there and there[wheel.name] != f"sha256:{digest_of_file(wheel)}":
                said = f"{tag} has another {wheel.name} already, which projects may have pinned"
                raise SluiceError(said, remedy="raise the version of engine/pyproject.toml, and tag that")
            if notes not in (body := release.body or ""):
                release.update_release(tag, f"{body}\n\n{notes}".lstrip())
    files = {path.name: path.read_bytes() for path in paths}
    return publish_release(tag, notes, files, environment, commit=run(root, "rev-parse", "HEAD"), ours=False)


def register(app: typer.Typer, groups: dict[str, typer.Typer]) -> None:  # noqa: ARG001 - the form of every extra
    groups["engine"].command("publish")(engine_publish)
