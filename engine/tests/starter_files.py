"""What a project starts with, as the engine's tests see it: engine/tests/starter/ (scripts/write_starter.py)."""

import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STARTER = Path(__file__).with_name("starter")
ROLLOUT = STARTER / "k8s" / "base" / "rollout.yaml"
GATES = STARTER / "config" / "gates.yaml"
LOCUSTFILE = STARTER / "loadtest" / "locustfile.py"


def copy_starter(root: Path, *folders: str) -> None:
    """Puts folders of the starter at their place in another checkout, and the engine's manifests and schemas beside."""
    for folder in folders:
        shutil.copytree(STARTER / folder, root / folder)
    for path in root.glob("k8s/**/kustomization.yaml"):
        path.write_text(path.read_text().replace("../../../k8s", "../engine/k8s"))
    for folder in ("engine/k8s", "engine/schemas"):
        shutil.copytree(ROOT / folder, root / folder)
