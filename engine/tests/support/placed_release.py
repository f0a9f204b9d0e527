"""Small releases with the real models in an artifact store: what an image or a wheel serves in the tests."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from sluice.core.workspace import Workspace
from sluice.data.rows import Document, Row, write_document, write_rows
from sluice.llm.model_files import load_models
from sluice.release import staging
from sluice.release.artifact_store import open_artifact_store
from sluice.release.catalogue import TransferResult, push
from sluice.release.manifest import FILE
from sluice.retrieval import index_stage
from support.guardrails import place_guard_model
from support.rollout.canaries import CASES

ROOT = Path(__file__).resolve().parents[3]
QUESTIONS = {"canary": "What gets a small share of the traffic first?", "paging": "When is the person on call paged?"}
ARTICLES = {
    "canary": "A canary gets a small share of the traffic first. When its error rate stays below the limit for ten "
    "minutes, the share grows.",
    "paging": "The person on call is paged when the error budget burns fourteen times too fast.",
}


@dataclass(frozen=True)
class Placed:
    """A pushed release, its store, and a folder with nothing but its manifest, as a ConfigMap is."""

    moved: TransferResult
    place: Path
    manifest: Path


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Two articles behind the real embedder and the untouched model, made by the real stages. The gates of times are
    wide: the tests put one service beside itself."""
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
    rows = [Row(id=name, question=asked, answers=(), doc_ids=()) for name, asked in QUESTIONS.items()]
    return _placed(checkout, rows, tmp_path_factory.mktemp("place"))


@pytest.fixture(scope="session")
def scripted(checkout: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Placed:
    """A release that is asked what support/rollout/canaries.py can answer."""
    return _placed(checkout, CASES, tmp_path_factory.mktemp("place"))


def _placed(checkout: Workspace, rows: list[Row], folder: Path) -> Placed:
    write_rows(checkout.data / "eval.jsonl", rows)
    _, release = staging.create(
        checkout,
        evaluation=checkout.build / "evaluation",
        verdicts=[],
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
