"""Writes engine/tests/starter/: `.venv/bin/python engine/scripts/write_starter.py [FOLDER]`.

It is a copy of what a project starts with. The engine's tests look at this one: a project's own canary, overlays and
gates are no matter of theirs.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "engine" / "tests" / "starter"
# From a file of the copy the engine lies elsewhere than from the original.
_HERE, _THERE = "../engine/k8s", "../../../k8s"


def main(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    for path in (*ROOT.glob("k8s/**/*.yaml"), *ROOT.glob("config/*.yaml"), *ROOT.glob("loadtest/**/*.py")):
        copy = folder / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(path.read_text(encoding="utf-8").replace(_HERE, _THERE), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
