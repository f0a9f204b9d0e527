"""Writes closed JSON Schemas of the custom resources in k8s/, into engine/schemas/cluster/:
`.venv/bin/python engine/scripts/write_cluster_schemas.py`.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import httpx
import yaml
from pydantic import Field, TypeAdapter

from sluice.cluster import kinds
from sluice.core.errors import SluiceError
from sluice.core.settings import Settings
from sluice.core.workspace import Workspace

HOST = "https://raw.githubusercontent.com"


class SchemaSource(Settings):
    """Definitions of one project: `at` is owner/repository/commit/folder, `kinds` those wanted (none: all)."""

    project: str
    licence: str
    at: str = Field(pattern=r"^[\w.-]+/[\w.-]+/[0-9a-f]{40}/")
    files: dict[str, str]
    kinds: tuple[str, ...] = ()


def write_schemas(folder: Path, *, host: str = HOST) -> list[Path]:
    """Fetches the definitions that a list names, and writes a schema for each kind.

    Args:
        folder: With sources.yaml; the schemas are written beside it.
        host: Where the definitions are.

    Raises:
        SluiceError: A file cannot be fetched, or has another sha256 than the list says.
    """
    sources = TypeAdapter(list[SchemaSource]).validate_python(yaml.safe_load((folder / "sources.yaml").read_text()))
    written = []
    for source in sources:
        for name, digest in source.files.items():
            content = _fetch(f"{host}/{source.at}/{name}")
            if (found := hashlib.sha256(content).hexdigest()) != digest:
                raise SluiceError(
                    f"{source.at}/{name}: its sha256 is {found}, not {digest}",
                    remedy=f"look at what changed there, then correct {folder / 'sources.yaml'}",
                )
            written += kinds.write_schemas(folder, content.decode(), source.kinds)
    return written


def _fetch(url: str) -> bytes:
    try:
        return httpx.get(url, timeout=60, follow_redirects=False).raise_for_status().content
    except httpx.HTTPError as error:
        raise SluiceError(f"{url}: {error}", remedy="check the network; the schemas in the repository stay") from error


if __name__ == "__main__":
    for path in write_schemas(Workspace.find().root / "engine" / "schemas" / "cluster"):
        print(path.name)
