"""Prompt files in MLflow's prompt registry, from which a release whose file is gone gets it back.

The prompt's digest is over what the model sees; a release pins the file's bytes, so the file is a tag of the
version."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sluice.core.atomic_files import write_atomic
from sluice.core.digests import digest_of_file
from sluice.core.errors import SluiceError
from sluice.core.tracking import open_tracking, tracking_faults, tracking_uri
from sluice.core.workspace import Workspace
from sluice.release.manifest import Manifest

IS_PROMPT = "tag.`mlflow.prompt.is_prompt` = 'true'"
_FOLDER, _SUFFIX = "prompts/", ".prompt.yml"


def keep_file(client: Any, name: str, version: str, folder: Path) -> None:
    path = folder / _FOLDER / f"{name}{_SUFFIX}"
    client.set_prompt_version_tag(name, version, _key(digest_of_file(path)), path.read_bytes().decode())


def restore_prompts(workspace: Workspace, manifest: Manifest, folder: Path) -> None:
    """Write prompt files of a release that are gone; the caller verifies them."""
    for path, sha256 in manifest.files.items():
        if path.startswith(_FOLDER) and not (folder / path).is_file():
            name = path.removeprefix(_FOLDER).removesuffix(_SUFFIX)
            content = _kept(workspace, name, manifest.prompts.get(name, ""), _key(sha256))
            if not content:
                raise SluiceError(
                    f"{folder / path}: the file is gone, and the prompt registry does not have it",
                    remedy="put it back from git, or fetch the release again: `sluice release fetch`",
                )
            write_atomic(folder / path, content)


def _kept(workspace: Workspace, name: str, digest: str, key: str) -> str:
    try:
        client = open_tracking(workspace, "releases").client
    except ImportError:  # an image serves without MLflow
        return ""
    with tracking_faults(tracking_uri(workspace)):
        versions = client.search_model_versions(f"name = '{name}' AND {IS_PROMPT} AND tag.digest = '{digest}'")
        return next((str(version.tags[key]) for version in versions if key in version.tags), "")


def _key(sha256: str) -> str:
    return f"file-{sha256[:16]}"
