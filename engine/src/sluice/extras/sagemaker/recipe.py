"""The recipe of an adapter: a digest over all dependencies of its stages in pipelines/dvc.yaml.

The stage `check` only accepts or rejects data: changing the evaluation questions does not change the digest.

Two trees with the same recipe produce the same result, so that no run is paid for twice; the result of a run is only
accepted into a tree with its recipe.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sluice.core.closures import STAGES as PROGRAMS
from sluice.core.closures import CodeGraph
from sluice.core.digests import digest_of, digest_of_file
from sluice.core.errors import SluiceError
from sluice.core.settings import read_yaml
from sluice.core.workspace import Workspace

STAGES = ("index", "train")  # of an adapter


def recipe_of(workspace: Workspace, image: str) -> str:
    """Hex sha256 over the dependencies and parameters of the stages, and the image that they run in. SluiceError names
    a dependency that is not there."""
    pipeline = workspace.root / "pipelines" / "dvc.yaml"
    stages = read_yaml(pipeline)[0]["stages"]
    made = {out for stage in stages.values() for out in _outs(stage)}
    deps = sorted({dep for name in STAGES for dep in stages[name]["deps"]} - made)
    graph = CodeGraph(workspace.root)
    return digest_of(
        {
            "code": {name: graph.code_of(PROGRAMS[name]).digest for name in STAGES},
            "commands": {name: stages[name]["cmd"] for name in STAGES},
            "deps": {dep: _content(workspace.root / dep) for dep in deps},
            "params": [_values(workspace.root, one) for name in STAGES for one in stages[name].get("params", ())],
            "image": image,
        }
    )


def _outs(stage: dict[str, Any]) -> list[str]:
    listed = [*stage.get("outs", ()), *stage.get("metrics", ()), *stage.get("plots", ())]
    return [one if isinstance(one, str) else next(iter(one)) for one in listed]


def _content(path: Path) -> Any:
    if path.is_file():
        return digest_of_file(path)
    if not path.is_dir():
        raise SluiceError(f"{path}: no such file or folder", remedy="`.venv/bin/dvc pull data.dvc` brings the data")
    files = (one for one in path.rglob("*") if one.is_file() and "__pycache__" not in one.parts)
    return {str(one.relative_to(path)): digest_of_file(one) for one in sorted(files)}


def _values(root: Path, entry: dict[str, list[str]]) -> dict[str, Any]:
    found = {}
    for file, keys in entry.items():
        document = read_yaml(root / file)[0]
        for key in keys:
            value = document
            for part in key.split("."):
                value = value[part]
            found[f"{file}:{key}"] = value
    return found
