"""Writes what the starter's overlays render to: `.venv/bin/python engine/scripts/write_golden_manifests.py [FOLDER]`.

A change of the base shows in engine/tests/golden/k8s/ what it does to every place; a contract test compares.
"""

from __future__ import annotations

import sys
from pathlib import Path

from sluice.cluster.manifests import render

ROOT = Path(__file__).resolve().parents[2]
STARTER = ROOT / "engine" / "tests" / "starter"
FOLDER = ROOT / "engine" / "tests" / "golden" / "k8s"


def main(folder: Path) -> None:
    for overlay in sorted(path.parent for path in (STARTER / "k8s" / "overlays").glob("*/kustomization.yaml")):
        (folder / f"{overlay.name}.yaml").write_text(render(overlay), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
