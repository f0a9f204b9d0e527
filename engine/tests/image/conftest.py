"""The images, each built once, and small releases with the real models in places."""

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
import yaml

from image.containers import PODMAN, Placed, Pod, isolation, podman
from sluice.core.workspace import Workspace
from sluice.data.rows import Document, Row, write_document, write_rows
from sluice.extras.image.container_image import LOAD, SERVING, BuiltImage, ImageTarget, build
from sluice.llm.model_files import load_models
from sluice.release import staging
from sluice.release.artifact_store import open_artifact_store
from sluice.release.manifest import FILE
from sluice.release.transfer import push
from sluice.release.verdict import Verdict
from sluice.retrieval import index_stage
from support.guardrails import place_guard_model
from support.rollout.canaries import CASES

ROOT = Path(__file__).resolve().parents[3]
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


def _built(base: str, target: ImageTarget) -> BuiltImage:
    options = shlex.split(os.environ.get("SLUICE_IMAGE_OPTIONS", "")) or isolation()
    built = build(ROOT, base, "localhost/sluice:test", options, target=target)
    print(f"{built.name}: {built.size / 1e6:.0f} MB, {built.seconds:.0f} s, {built.id}")
    return built


@pytest.fixture(scope="session")
def image(base: str) -> BuiltImage:
    return _built(base, SERVING)


@pytest.fixture(scope="session")
def load_image(base: str) -> BuiltImage:
    return _built(base, LOAD)


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Two articles behind the real embedder and the untouched model, made by the real stages; the guard model takes
    nothing for an attack, and has tests elsewhere. Its gates are wide where they compare times: the tests put one
    service beside itself, on a machine that may do much else."""
    root = tmp_path_factory.mktemp("checkout")
    for folder in ("prompts", "config", "pipelines"):
        shutil.copytree(ROOT / folder, root / folder)
    shutil.copy(ROOT / "pyproject.toml", root)
    gates = yaml.safe_load((root / "config" / "gates.yaml").read_text())
    for gate in gates["gates"]:
        if gate["stage"] == "load" and gate["metric"] != "error_rate":
            gate["limit"] = 20.0
    (root / "config" / "gates.yaml").write_text(yaml.safe_dump(gates))
    for name, text in ARTICLES.items():
        document = Document(id=name, title=name.title(), licence="CC0-1.0", source="written for the tests", text=text)
        write_document(root / "data" / "corpus", document)
    workspace = Workspace(root)
    index_stage.run(workspace)
    embedder = load_models(workspace.config / "models.yaml").embed.sha256
    place_guard_model(workspace, embedder)
    evaluation = workspace.build / "evaluation"
    evaluation.mkdir(parents=True)
    (evaluation / "summary.json").write_text(json.dumps({"cases_digest": "c" * 64, "cases": 0, "metrics": {}}))
    return workspace


@pytest.fixture(scope="session")
def placed(checkout: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Placed:
    """A release that is asked about its articles."""
    rows = [Row(id=name, question=asked, answers=(), doc_ids=()) for name, asked in QUESTIONS.items()]
    return _placed(checkout, rows, tmp_path_factory.mktemp("place"))


@pytest.fixture(scope="session")
def scripted(checkout: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Placed:
    """A release that is asked what the scripted services of engine/tests/support/rollout/canaries.py can answer."""
    return _placed(checkout, CASES, tmp_path_factory.mktemp("place"))


def _placed(checkout: Workspace, rows: list[Row], folder: Path) -> Placed:
    write_rows(checkout.data / "eval.jsonl", rows)
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
    _, release = staging.create(
        checkout,
        evaluation=checkout.build / "evaluation",
        verdicts=[Verdict.model_validate(verdict)],
        parent=None,
        commit="0" * 40,
        data_digest="e" * 32,
        adapter=None,
    )
    place, manifest = folder / "artefacts", folder / "manifest"
    for made in (folder, place, manifest):
        made.mkdir(exist_ok=True)
        made.chmod(0o755)  # the container's user reads it
    shutil.copy(release / FILE, manifest)
    return Placed(push(release, checkout, open_artifact_store(str(place))), place, manifest)


QUESTIONS = {
    "canary": "What gets a small share of the traffic first?",
    "paging": "When is the person on call paged?",
}
ARTICLES = {
    "canary": "A canary gets a small share of the traffic first. When its error rate stays below the limit for ten "
    "minutes, the share grows.",
    "paging": "The person on call is paged when the error budget burns fourteen times too fast.",
}


@pytest.fixture
def pod(image: BuiltImage, tmp_path: Path) -> Iterator[Pod]:
    made = Pod(image, tmp_path)
    yield made
    print(made.log(), file=sys.stderr)
    made.close()


@pytest.fixture(scope="session")
def facts(image: BuiltImage) -> dict[str, Any]:
    """What the image says of itself."""
    return dict(json.loads(podman("image", "inspect", image.id))[0])
