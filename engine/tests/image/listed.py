"""What an image holds, by its bill of materials, by what is installed in it, and by its lock."""

from __future__ import annotations

import json
import re
from pathlib import Path

from image.containers import podman
from sluice.extras.image.container_image import BuiltImage

ROOT = Path(__file__).resolve().parents[3]
DISTRIBUTIONS = "import importlib.metadata as m; print(*sorted(d.name + '==' + d.version for d in m.distributions()))"


def installed(image: BuiltImage) -> dict[str, str]:
    """Name -> version of every distribution but our own; they are those that the SBOM lists."""
    document = json.loads(image.sbom.read_text())
    listed = {normal(component["name"]): component["version"] for component in document["components"]}
    said = podman("run", "--rm", "--network=none", "--entrypoint=python", image.id, "-c", DISTRIBUTIONS)
    found = {normal(name): version for name, version in (word.split("==") for word in said.split())}
    found.pop("sluice")
    assert document["bomFormat"] == "CycloneDX"
    assert document["metadata"]["component"]["name"] == "sluice"
    assert listed == found
    return found


def locked(lock: str) -> dict[str, str]:
    text = (ROOT / "engine" / "requirements" / lock).read_text()
    return {normal(name): version for name, version in re.findall(r"^([\w.-]+)(?:\[[^]]+\])?==([^\s;]+)", text, re.M)}


def normal(name: str) -> str:
    """A distribution's name as the index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()
