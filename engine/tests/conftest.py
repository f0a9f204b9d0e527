"""Fixtures of all tests of the engine; `sluice.testing.plugin` keeps tests quiet and off the network."""

import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sluice.core.workspace import Workspace
from sluice.data.rows import Document, Row, write_document, write_rows
from sluice.llm.model_files import Models, ensure, load_models
from sluice.template.owned import list_files

ROOT = Path(__file__).resolve().parents[2]

ARTICLES = {
    "chunking": (
        "Chunking",
        "Long documents are cut into chunks before they are embedded. Neighbouring chunks share 64 tokens, so that a "
        "sentence at a border is whole in one of them.",
    ),
    "canary": (
        "Canary releases",
        "A canary gets a small share of the traffic first. When its error rate stays below the limit for ten minutes, "
        "the share grows.\n\nA canary that fails goes back to weight zero.",
    ),
    "paging": (
        "Paging",
        "The person on call is paged when the error budget burns fourteen times too fast. The alert is named "
        "ZQX-4711 and links to the runbook.",
    ),
}
ROWS = (
    Row(id="q1", question="How much overlap do chunks have?", answers=("64 tokens",), doc_ids=("chunking",)),
    Row(id="q2", question="What gets a small share of the traffic?", answers=("a canary",), doc_ids=("canary",)),
    Row(id="q3", question="Who is paged?", answers=("the person on call",), doc_ids=("paging",)),
    Row(id="q4", question="What does a licence cost?", answers=(), doc_ids=(), tags=("unanswerable",)),
)


@pytest.fixture
def documents() -> list[Document]:
    return [
        Document(id=name, title=title, licence="CC0-1.0", source="written for the tests", text=text)
        for name, (title, text) in sorted(ARTICLES.items())
    ]


@pytest.fixture
def rows() -> list[Row]:
    return list(ROWS)


@pytest.fixture
def workspace(tmp_path: Path, documents: list[Document], rows: list[Row]) -> Workspace:
    """A checkout in miniature: the real prompts, config and parameters, three articles, four rows."""
    root = tmp_path / "checkout"
    for folder in ("prompts", "config"):
        shutil.copytree(ROOT / folder, root / folder)
    (root / "pipelines").mkdir()
    for name in ("pyproject.toml", "pipelines/params.yaml", "pipelines/dvc.yaml"):
        shutil.copy(ROOT / name, root / name)
    for document in documents:
        write_document(root / "data" / "corpus", document)
    write_rows(root / "data" / "train.jsonl", rows[:1])
    write_rows(root / "data" / "eval.jsonl", rows)
    return Workspace(root)


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """`cli.main` runs in this process: it neither watches a parent nor takes signals."""
    from sluice import cli

    for name in ("die_with_parent", "watch_parent"):
        monkeypatch.setattr(cli, name, lambda: None)
    monkeypatch.setattr(signal, "signal", lambda *_: None)


@pytest.fixture
def sluice(
    in_process: None,  # noqa: ARG001
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., tuple[int, str, str]]:
    """Runs `sluice` with these words in this process; returns exit status, output and errors."""
    from sluice import cli

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["sluice", *words])
        capsys.readouterr()
        status = cli.main()
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


@pytest.fixture(scope="session", autouse=True)
def _patient_stores() -> Iterator[None]:
    """A store that names no other limit has 3 s for a search, which a machine that is busy elsewhere may miss."""
    from sluice.retrieval import postgres_connections
    from sluice.retrieval.stores import EMBEDDED

    usual = EMBEDDED.chosen.timeout_seconds
    pool, limits = postgres_connections.BoundedPool, postgres_connections._limits
    begin = pool.__init__

    def patient(seconds: float) -> float:
        return 60.0 if seconds == usual else seconds

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pool, "__init__", lambda *its, seconds, **more: begin(*its, seconds=patient(seconds), **more))
        patch.setattr(postgres_connections, "_limits", lambda seconds: limits(patient(seconds)))
        yield


@dataclass(frozen=True)
class RealModels:
    chat: Path
    embed: Path
    specs: Models


@pytest.fixture(scope="session")
def models() -> RealModels:
    """The real models, fetched if they are missing. For tests marked `real`."""
    here = Workspace(ROOT)
    specs = load_models(here.config / "models.yaml")
    return RealModels(ensure(specs.chat, here.cache), ensure(specs.embed, here.cache), specs)


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def tracked(root: Path) -> list[str]:
    return list_files(root, untracked=False)


@pytest.fixture(scope="session")
def texts(root: Path, tracked: list[str]) -> dict[str, str]:
    """Content of the tracked text files by path, without objects of the data remote."""
    found = {}
    for name in tracked:
        content = b"" if name.startswith("dvc-store/") else (root / name).read_bytes()
        if content and b"\0" not in content:
            found[name] = content.decode()
    return found
