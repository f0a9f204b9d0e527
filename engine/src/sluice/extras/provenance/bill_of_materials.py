"""bom.cdx.json: what a release is made of, as a CycloneDX 1.6 bill of materials with machine-learning components.

Plain JSON, because the library of CycloneDX for Python has no model cards; the tests hold it to the published schema
with that library's validator.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

from sluice.core.atomic_files import read_json
from sluice.core.digests import digest_of_file
from sluice.core.errors import SluiceError
from sluice.core.workspace import Workspace
from sluice.data.row_sources import FILE as SOURCES
from sluice.data.row_sources import scan_sources
from sluice.data.rows import scan_corpus
from sluice.llm.model_files import load_models
from sluice.release.manifest import ADAPTER, CODE, GUARD, JUDGING_CASES, PINNED, Manifest
from sluice.release.manifest import FILE as MANIFEST

FILE = "bom.cdx.json"
_RELEASE = "release"
# Parts of a release by the folder that holds them: what CycloneDX calls it.
_KINDS = {"prompts": "configuration", "config": "configuration", "index": "dataset", "judging": "dataset"}


def bill_of_materials(folder: Path, manifest: Manifest) -> dict[str, Any]:
    """The bill of a release.

    Args:
        folder: Of the release.
        manifest: What it says.

    Returns:
        The document; the same release gives the same one, but for licences of data, which only the checkout with
        the release's own data knows.
    """
    components = [*_models(folder, manifest), *_trained(manifest), *_data(folder, manifest), *_files(manifest)]
    components += _images(manifest)
    refs = [one["bom-ref"] for one in components]
    digest = digest_of_file(folder / MANIFEST)
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid5(NAMESPACE_URL, f'urn:sluice:{manifest.id}:{digest}')}",
        "version": 1,
        "metadata": {
            "timestamp": manifest.created,
            "component": {
                "type": "application",
                "bom-ref": _RELEASE,
                "name": "release",
                "version": manifest.id,
                "hashes": _hashes(digest),
                "properties": _properties({"commit": manifest.commit, "parent": manifest.parent}),
            },
        },
        "components": components,
        "dependencies": [
            {"ref": _RELEASE, "dependsOn": refs},
            *([{"ref": ADAPTER, "dependsOn": ["model:chat", "data"]}] if manifest.adapter else []),
        ],
    }


def _models(folder: Path, manifest: Manifest) -> list[dict[str, Any]]:
    """The base models, with the files that lie beside each."""
    settings = folder / "config" / "models.yaml"
    named = dict(load_models(settings)) if settings.is_file() else {}
    found = []
    for role, pin in manifest.models.items():
        spec = named.get(role)
        beside = [
            {"type": "file", "bom-ref": f"model:{role}/{name}", "name": name, "hashes": _hashes(sha256)}
            for name, sha256 in (spec.files if spec else {}).items()
        ]
        found.append(
            {
                "type": "machine-learning-model",
                "bom-ref": f"model:{role}",
                "name": spec.name if spec else role,
                "hashes": _hashes(pin.sha256),
                "licenses": _licences([pin.licence]),
                "properties": _properties({"role": role, "source": pin.source, "convert": pin.convert}),
                **({"components": beside} if beside else {}),
            }
        )
    return found


def _trained(manifest: Manifest) -> list[dict[str, Any]]:
    """What was trained: the adapter with its figures, and the guard model."""
    found = []
    if manifest.adapter:
        figures = [
            {"type": name, "value": str(value)} for name, value in sorted(manifest.evaluation.metrics.items())
            if value is not None
        ]  # fmt: skip
        card = {
            "modelParameters": {"approach": {"type": "supervised"}, "datasets": [{"ref": "data"}]},
            "quantitativeAnalysis": {"performanceMetrics": figures},
        }
        found.append(_model(ADAPTER, manifest.adapter.sha256) | {"modelCard": card})
    if manifest.guardrails and manifest.guardrails.model:
        found.append(_model(GUARD, manifest.guardrails.model))
    return found


def _model(name: str, sha256: str) -> dict[str, Any]:
    return {"type": "machine-learning-model", "bom-ref": name, "name": name, "hashes": _hashes(sha256)}


def _data(folder: Path, manifest: Manifest) -> list[dict[str, Any]]:
    """The data set, by the digest that `sluice data check` gives it."""
    licences = _data_licences(folder, manifest)
    return [
        {
            "type": "data",
            "bom-ref": "data",
            "name": "data",
            "version": manifest.data.digest,
            "data": [{"type": "dataset", "name": "documents, training and evaluation rows"}],
            **({"licenses": _licences(licences)} if licences else {}),
            "properties": _properties(
                {"index": manifest.index.digest, "evaluation cases": manifest.evaluation.cases_digest, **licences}
            ),
        }
    ]


def _data_licences(folder: Path, manifest: Manifest) -> dict[str, int]:
    """Documents and rows by licence, where the release lies in the checkout that it was made from."""
    workspace = Workspace(folder.parents[2])
    try:
        digest = read_json(workspace.build / "check" / "report.json").get("digest")
    except SluiceError:
        return {}
    if digest != manifest.data.digest:
        return {}
    count = Counter(one.value.licence for one in scan_corpus(workspace.data / "corpus")[0])
    for source in scan_sources(workspace.data / SOURCES)[0]:
        count[source.licence] += source.rows
    return dict(sorted(count.items()))


def _files(manifest: Manifest) -> list[dict[str, Any]]:
    """Prompts, settings with the tools, index, evaluation cases, and the list of code: every pinned file but models."""
    found = []
    for name, sha256 in manifest.files.items():
        kind = _KINDS.get(name.partition("/")[0])
        if name in (ADAPTER, GUARD):
            continue
        shape = {"type": "data", "data": [{"type": kind, "name": name}]} if kind else {"type": "file"}
        more = {"evaluation": "cases"} if name == JUDGING_CASES else {}
        if name == CODE and manifest.code:
            more = {"code": manifest.code.serve}
        properties = {"properties": _properties(more)} if more else {}
        found.append({**shape, "bom-ref": name, "name": name, "hashes": _hashes(sha256), **properties})
    return found


def _images(manifest: Manifest) -> list[dict[str, Any]]:
    """The images, whose libraries have bills of their own."""
    found = []
    for what, image in (("image", manifest.image), ("load image", manifest.load_image)):
        if image and (parts := PINNED.fullmatch(image)):
            digest = parts["digest"].removeprefix("sha256:")
            found.append({"type": "container", "bom-ref": what, "name": parts["name"], "hashes": _hashes(digest)})
    return found


def _hashes(sha256: str) -> list[dict[str, str]]:
    return [{"alg": "SHA-256", "content": sha256}]


def _properties(values: Mapping[str, Any]) -> list[dict[str, str]]:
    return [{"name": f"sluice:{name}", "value": str(value)} for name, value in values.items() if value is not None]


def _licences(names: Iterable[str]) -> list[dict[str, Any]]:
    """By SPDX's identifier where it is one, else by name: a model's own licence has none."""
    return [{"license": _licence(name)} for name in names]


def _licence(name: str) -> dict[str, str]:
    try:
        found = canonicalize_license_expression(name)
    except InvalidLicenseExpression:
        return {"name": name}
    one = " " not in found and not found.startswith("LicenseRef-")
    return {"id": found} if one else {"name": name}
