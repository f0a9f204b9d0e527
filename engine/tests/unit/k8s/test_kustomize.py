"""Other versions of kustomize make the same objects: Argo CD, Flux and `kubectl apply -k` bring their own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sluice.cluster.manifests import parse, place
from support.kubernetes.manifests import K8S, OVERLAYS, combination, combinations, combined_text, overlay_text

OWN = Path(sys.executable).parent
ELSEWHERE = os.pathsep.join(one for one in os.environ["PATH"].split(os.pathsep) if Path(one) != OWN)
# Of the system: Debian has kustomize 5.6 and kubectl with 5.5, GitHub's machines have both.
OTHERS = [
    [found, *words]
    for program, words in (("kustomize", ["build"]), ("kubectl", ["kustomize"]))
    if (found := shutil.which(program, path=ELSEWHERE))
]
pytestmark = pytest.mark.skipif(not OTHERS, reason="neither kustomize nor another kubectl is on PATH")


def objects(text: str) -> dict[str, Any]:
    return {place(one): one for one in parse(text)}


@pytest.mark.parametrize("program", OTHERS, ids=lambda words: Path(words[0]).name)
def test_another_kustomize_renders_the_same_objects(program: list[str], tmp_path: Path) -> None:
    folders = [(K8S / "overlays" / name, overlay_text(name)) for name in OVERLAYS]
    for number, names in enumerate(combinations()[:2]):  # all of them take minutes
        folders.append((combination(tmp_path / str(number), names), combined_text(names)))
    for folder, ours in folders:
        done = subprocess.run([*program, str(folder)], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, f"{folder}: {done.stderr}"
        assert objects(done.stdout) == objects(ours), (folder / "kustomization.yaml").read_text()
