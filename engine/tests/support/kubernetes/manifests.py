"""Overlays and combinations of components, each rendered once."""

import json
import os
import re
import tempfile
from collections.abc import Sequence
from functools import cache
from itertools import chain
from pathlib import Path

from sluice.cluster.manifests import Manifest, parse, render
from starter_files import ROOT, STARTER

K8S = STARTER / "k8s"
ENGINE = ROOT / "engine" / "k8s"
SCHEMAS = ROOT / "engine" / "schemas" / "cluster"
OVERLAYS = sorted(path.parent.name for path in K8S.glob("overlays/*/kustomization.yaml"))
COMPONENTS = sorted(path.parent.name for path in ENGINE.glob("components/*/kustomization.yaml"))


@cache
def overlay_text(name: str) -> str:
    return render(K8S / "overlays" / name)


def combination(folder: Path, components: Sequence[str]) -> Path:
    folder.mkdir(exist_ok=True)
    k8s, engine = (os.path.relpath(path, folder.resolve()) for path in (K8S, ENGINE))
    (folder / "kustomization.yaml").write_text(
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nnamespace: sluice-test\n"
        f"resources: [{k8s}/base]\n"
        f"components: [{', '.join(f'{engine}/components/{name}' for name in components)}]\n"
    )
    return folder


@cache
def combined_text(components: tuple[str, ...]) -> str:
    with tempfile.TemporaryDirectory() as folder:
        return render(combination(Path(folder), components))


def overlay(name: str) -> list[Manifest]:
    return parse(overlay_text(name))


def combined(*components: str) -> list[Manifest]:
    return parse(combined_text(components))


def documented() -> list[tuple[str, ...]]:
    """Return the combinations in engine/docs/reference/cluster.md."""
    page = (ROOT / "engine" / "docs" / "reference" / "cluster.md").read_text()
    block = re.search(r"^## Combinations\n(.*?)^## ", page, re.DOTALL | re.MULTILINE)
    assert block, "the page has no section `Combinations`"
    rows = [line.split("|")[-2] for line in block[1].splitlines() if line.startswith("| ") and "`" in line]
    return [tuple(re.findall(r"`([\w-]+)`", row)) for row in rows]


def combinations() -> Sequence[tuple[str, ...]]:
    return [*((name,) for name in COMPONENTS), *documented(), *crowded()]


def everything() -> list[tuple[str, list[Manifest]]]:
    return [(name, overlay(name)) for name in OVERLAYS] + [("+".join(one), combined(*one)) for one in combinations()]


def distinct() -> list[Manifest]:
    return list({json.dumps(document): document for _, documents in everything() for document in documents}.values())


# Of each row one stands in an overlay ("Not together" in engine/docs/reference/cluster.md).
_TYPES = (("shadow",), ("blue-green",), ("rolling",), ("ab",))
_STORES = ("database", "database-external", "pgvector", "cloudnative-pg", "cloudnative-pg-backup")
_KEYS = ("provider-keys", "provider-keys-external")
_LAST = ("artefacts-volume", "private-images", "openshift")  # they change what others bring


def crowded() -> list[tuple[str, ...]]:
    """Return overlays of as much as may stand together: every two components that may are in one of them."""
    told = {*chain(*_TYPES), *_STORES, *_KEYS, "ingress-tls", "ingress-alb", *_LAST}
    others = [name for name in COMPONENTS if name not in told]
    ways = [("ingress-tls", kinds) for kinds in _TYPES] + [("ingress-alb", ())]
    return [
        (ingress, store, _KEYS[(row + column) % 2], *others, *kinds, *_LAST)
        for row, (ingress, kinds) in enumerate(ways)
        for column, store in enumerate(_STORES)
    ]


def one(documents: Sequence[Manifest], kind: str, name: str) -> Manifest:
    (found,) = (each for each in documents if each["kind"] == kind and each["metadata"]["name"] == name)
    return found
