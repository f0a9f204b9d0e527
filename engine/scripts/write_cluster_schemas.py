"""Writes closed JSON Schemas of the custom resources in k8s/, into engine/schemas/cluster/:
`.venv/bin/python engine/scripts/write_cluster_schemas.py`.

The projects' own definitions list the known fields, and an API server prunes others silently. Here every object forbids
unknown keys, so that a misspelt key is an error. metadata allows only fields that manifests set, none that controllers
write.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import yaml
from pydantic import Field, TypeAdapter

from sluice.cluster.manifests import schema_name
from sluice.core.errors import SluiceError
from sluice.core.settings import Settings
from sluice.core.workspace import Workspace

HOST = "https://raw.githubusercontent.com"
_TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
_METADATA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["name"],
    "properties": {
        "name": {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"},
        "namespace": {"type": "string"},
        "labels": _TEXTS,
        "annotations": _TEXTS,
    },
}
# Keywords of a structural schema that say something about values; the rest is for people or for the API server.
_KEPT = (
    "type", "properties", "required", "items", "enum", "pattern", "additionalProperties",
    "anyOf", "oneOf", "allOf", "not", "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems",
)  # fmt: skip


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
            for group, kind, schema in _kinds(content):
                if not source.kinds or kind in source.kinds:
                    path = folder / schema_name(group, kind)
                    path.write_text(json.dumps(schema, sort_keys=True, separators=(",", ":")) + "\n")
                    written.append(path)
    return written


def _fetch(url: str) -> bytes:
    try:
        return httpx.get(url, timeout=60, follow_redirects=False).raise_for_status().content
    except httpx.HTTPError as error:
        raise SluiceError(f"{url}: {error}", remedy="check the network; the schemas in the repository stay") from error


def _kinds(content: bytes) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Group, kind and schema of the version that is stored, for each definition in a file."""
    for document in yaml.safe_load_all(content):
        if not document:
            continue
        group, kind = document["spec"]["group"], document["spec"]["names"]["kind"]
        version = next(one for one in document["spec"]["versions"] if one["storage"])
        schema = close(version["schema"]["openAPIV3Schema"])
        schema["properties"] |= {
            "apiVersion": {"const": f"{group}/{version['name']}"},
            "kind": {"const": kind},
            "metadata": _METADATA,
        }
        schema["properties"].pop("status", None)
        schema["required"] = sorted({*schema.get("required", ()), "apiVersion", "kind", "metadata", "spec"})
        schema["title"] = f"{group}/{version['name']} {kind}"
        yield group, kind, schema


def close(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema without texts, every object with named keys closed. Where the definition asks to preserve what it does
    not know, the object stays open."""
    closed: dict[str, Any] = {key: schema[key] for key in _KEPT if key in schema}
    if schema.get("x-kubernetes-int-or-string"):
        closed.pop("type", None)
        closed["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    if "properties" in closed:
        closed["properties"] = {name: close(one) for name, one in closed["properties"].items()}
        if "additionalProperties" not in closed and not schema.get("x-kubernetes-preserve-unknown-fields"):
            closed["additionalProperties"] = False
    for key in ("items", "additionalProperties"):
        if isinstance(closed.get(key), dict):
            closed[key] = close(closed[key])
    return closed


if __name__ == "__main__":
    for path in write_schemas(Workspace.find().root / "engine" / "schemas" / "cluster"):
        print(path.name)
