"""The image, built once, and a small release with the real models in a place."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from containers import PODMAN, Placed, Pod, isolation, podman
from sluice.core.workspace import Workspace
from sluice.data.rows import Document, write_document
from sluice.release import staging
from sluice.release.blobs import open_place
from sluice.release.gates import Verdict
from sluice.release.image import Image, build
from sluice.release.transfer import push
from sluice.retrieval import stage

ROOT = Path(__file__).resolve().parents[2]
SUITE = "trixie"
OWN_BASE = f"localhost/sluice-test-base:{SUITE}-gomp"


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    """SLUICE_IMAGE_BASE, or a Debian made on this machine, which needs root and debootstrap."""
    if named := os.environ.get("SLUICE_IMAGE_BASE"):
        return named
    if subprocess.run([*PODMAN, "image", "exists", OWN_BASE], check=False).returncode:
        if os.geteuid() or not shutil.which("debootstrap"):
            pytest.fail("name a base image by digest in SLUICE_IMAGE_BASE, or run as root with debootstrap installed")
        folder = tmp_path_factory.mktemp("base")
        packages = "--include=python3,python3-venv,ca-certificates,libgomp1"
        subprocess.run(["debootstrap", "--variant=minbase", packages, SUITE, str(folder)], check=True)
        authorities = Path("etc/ssl/certs/ca-certificates.crt")  # the build reaches the index as this machine does
        shutil.copyfile("/" / authorities, folder / authorities)
        tar = ["tar", "--exclude=./var/cache/apt/*", "--exclude=./var/lib/apt/lists/*", "-C", str(folder), "-c", "."]
        with subprocess.Popen(tar, stdout=subprocess.PIPE) as packing:
            subprocess.run([*PODMAN, "import", "-", OWN_BASE], stdin=packing.stdout, check=True)
        shutil.rmtree(folder)
    name = OWN_BASE.partition(":")[0]
    return f"{name}@{podman('image', 'inspect', '--format', '{{.Digest}}', OWN_BASE)}"


@pytest.fixture(scope="session")
def image(base: str) -> Image:
    options = shlex.split(os.environ.get("SLUICE_IMAGE_OPTIONS", "")) or isolation()
    built = build(ROOT, base, "localhost/sluice:test", options)
    print(f"{built.size / 1e6:.0f} MB, {built.seconds:.0f} s, {built.id}")
    return built


@pytest.fixture(scope="session")
def placed(tmp_path_factory: pytest.TempPathFactory) -> Placed:
    """Two articles behind the real embedder and the untouched model, all made by the real stages."""
    root = tmp_path_factory.mktemp("checkout")
    for folder in ("prompts", "config", "pipelines"):
        shutil.copytree(ROOT / folder, root / folder)
    shutil.copy(ROOT / "pyproject.toml", root)
    for name, text in ARTICLES.items():
        document = Document(id=name, title=name.title(), licence="CC0-1.0", source="written for the tests", text=text)
        write_document(root / "data" / "corpus", document)
    workspace = Workspace(root)
    stage.run(workspace)
    evaluation = workspace.build / "evaluation"
    evaluation.mkdir(parents=True)
    (evaluation / "summary.json").write_text(json.dumps({"cases_digest": "c" * 64, "cases": 0, "metrics": {}}))
    verdict = {
        "gate": "none",
        "metric": "none",
        "passed": True,
        "figure": 1.0,
        "limit": 0.0,
        "reference": None,
        "samples": 1,
        "reason": "made for a test",
    }
    _, folder = staging.create(
        workspace,
        evaluation=evaluation,
        verdicts=[Verdict.model_validate(verdict)],
        parent=None,
        commit="0" * 40,
        data_digest="e" * 32,
        adapter=None,
    )
    place = tmp_path_factory.mktemp("place")
    place.chmod(0o755)  # the container's user reads it
    return Placed(push(folder, workspace, open_place(str(place))), place)


ARTICLES = {
    "canary": "A canary gets a small share of the traffic first. When its error rate stays below the limit for ten "
    "minutes, the share grows.",
    "paging": "The person on call is paged when the error budget burns fourteen times too fast.",
}


@pytest.fixture
def pod(image: Image, tmp_path: Path) -> Iterator[Pod]:
    made = Pod(image, tmp_path)
    yield made
    print(made.log(), file=sys.stderr)
    made.close()


@pytest.fixture(scope="session")
def facts(image: Image) -> dict[str, Any]:
    """What the image says of itself."""
    return dict(json.loads(podman("image", "inspect", image.id))[0])
