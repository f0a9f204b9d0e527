"""Writes JSON Schemas of custom resource definitions.

An API server drops, without a word, what a definition doesn't list. Here that is an error, so a misspelt key is found.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from sluice.cluster.manifests import parse, place, schema_name
from sluice.core.atomic_files import write_atomic
from sluice.core.errors import SluiceError

_NAME = {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"}
_TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
_FIELDS = {"name": _NAME, "namespace": _NAME, "labels": _TEXTS, "annotations": _TEXTS, "finalizers": {"type": "array"}}
_METADATA = {"type": "object", "additionalProperties": False, "required": ["name"], "properties": _FIELDS}
# Keywords that say something about values; the rest is for people or for the API server.
_KEPT = (
    "type", "properties", "required", "items", "enum", "pattern", "additionalProperties", "anyOf", "oneOf", "allOf",
    "not", "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties",
)  # fmt: skip
# An object with one of these keeps what its definition doesn't list.
_OPEN = ("x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource")


def write_schemas(folder: Path, text: str, kinds: Sequence[str] = ()) -> list[Path]:
    """Write the schemas of the kinds that a YAML text defines, or of some of them."""
    try:
        definitions = [item for one in parse(text) for item in one.get("items", [one])]
        schemas = {name: schema for one in definitions for name, schema in _schemas(one, kinds)}
        if not schemas:
            raise LookupError("no version is served")
    except (yaml.YAMLError, LookupError, TypeError, AttributeError) as error:
        raise SluiceError(
            f"not a CustomResourceDefinition: {type(error).__name__} {error}",
            remedy="give it as `kubectl get crd NAME -o yaml` prints it",
        ) from error
    for name, schema in schemas.items():
        write_atomic(folder / name, json.dumps(schema, sort_keys=True, separators=(",", ":")) + "\n")
    return [folder / name for name in schemas]


def _schemas(definition: Any, kinds: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield file names and schemas. Served versions with the fields of the stored one share its file."""
    if definition["kind"] != "CustomResourceDefinition":
        raise TypeError(f"it is {place(definition)}")
    spec, kind = definition["spec"], definition["spec"]["names"]["kind"]
    served = [one for one in spec["versions"] if one["served"] and (not kinds or kind in kinds)]
    served.sort(key=lambda one: not one["storage"])
    closed = {one["name"]: close(one["schema"]["openAPIV3Schema"]) for one in served}
    shared = next(iter(closed.values()), None)
    for version, schema in closed.items():
        alike = [f"{spec['group']}/{other}" for other in closed if closed[other] == schema]
        own = {"apiVersion": {"enum": alike}, "kind": {"const": kind}, "metadata": _METADATA}
        fields = {name: one for name, one in schema.get("properties", {}).items() if name != "status"}
        required = sorted({*schema.get("required", ()), *own} - {"status"})
        name = schema_name(spec["group"], kind, "" if schema == shared else version)
        yield name, {**schema, "required": required, "properties": fields | own}


def close(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema without texts, every object closed that keeps only what its definition lists."""
    closed: dict[str, Any] = {key: schema[key] for key in _KEPT if key in schema}
    if schema.get("x-kubernetes-int-or-string"):
        closed.pop("type", None)
        closed["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    if "properties" in closed:
        closed["properties"] = {name: close(one) for name, one in closed["properties"].items()}
    if closed.get("type") == "object" and not any(map(schema.get, _OPEN)):
        closed.setdefault("additionalProperties", False)
    for key in ("items", "additionalProperties"):
        if isinstance(closed.get(key), dict):
            closed[key] = close(closed[key])
    if schema.get("nullable") and "type" in closed:
        closed["type"] = [closed["type"], "null"]
    if re.search(r"\\[pPzQC]|\[\[:", closed.get("pattern", "")):  # Go's, which Python reads otherwise or not at all
        del closed["pattern"]
    return closed
