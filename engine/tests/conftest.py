"""For every test: no telemetry, a closed network, and a small workspace.

A unit test may talk to this machine only when it asks for `loopback`; one marked `real` always may, and one marked
`e2e` or `image` is not guarded at all.
"""

from __future__ import annotations

import os

# Before anything is imported: several libraries read these at import. The Makefile has the same list.
os.environ.update(
    {
        "DVC_NO_ANALYTICS": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "HF_HUB_OFFLINE": "1",
        "DO_NOT_TRACK": "1",
    }
)

import gc
import shutil
import signal
import socket
import sys
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sluice.core.workspace import Workspace
from sluice.data.rows import Document, Row, write_document, write_rows
from sluice.github.job_summary import write_job_summary
from sluice.github.markdown import table
from sluice.llm.models import Models, ensure, load_models

ROOT = Path(__file__).resolve().parents[2]
_LOCAL = ("127.0.0.1", "::1", "localhost")
# A job in the background of a script ignores Ctrl-C, and so would all that it starts; some tests press it.
signal.signal(signal.SIGINT, signal.default_int_handler)
# As sluice.cli does: a second of every worker.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Thousands of tests and all that they import stay to the end: the collector of garbage need not look at them."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Some tests run only when they are asked for by the name of their marker. Whole releases take longest, one after
    the other, so they come first: with several workers the rest is done beside them."""
    items.sort(key=lambda item: item.get_closest_marker("e2e") is None)
    for marker, reason in (
        ("soak", "takes minutes: make soak"),
        ("image", "takes minutes: make test-image"),
        ("drill", "takes minutes: make test-drill"),
        ("fork", "takes minutes: make test-fork"),
        ("extras", "takes minutes: make test-extras"),
        ("cluster", "needs a cluster: make e2e-cluster"),
        ("sagemaker", "needs the SDK of SageMaker: make test-sagemaker"),
    ):
        if marker not in config.option.markexpr:
            for item in items:
                if item.get_closest_marker(marker):
                    item.add_marker(pytest.mark.skip(reason=reason))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """In GitHub Actions: how many passed, what did not, and what was left out, in the summary of the job."""
    stats = terminalreporter.stats
    counts = [(word, str(len(stats[word]))) for word in ("passed", "failed", "error", "skipped") if stats.get(word)]
    broken = [one for word in ("failed", "error") for one in stats.get(word, ())]
    shown = "### Tests\n\n" + table(("", "tests"), counts)
    if broken:
        shown += "\n" + table(
            ("broken", "why"), [(one.nodeid, one.longreprtext.strip().rpartition("\n")[2]) for one in broken]
        )
    if reasons := {one.longrepr[2] for one in stats.get("skipped", ()) if isinstance(one.longrepr, tuple)}:
        shown += "\n" + table(("skipped because",), [(reason,) for reason in sorted(reasons)])
    write_job_summary(shown, os.environ)


class NetworkClosedError(AssertionError):
    """A test reached for the network."""


@pytest.fixture(autouse=True)
def _own_tracking_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow notes the store of one test in the environment, where the next would find it."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture
def loopback() -> None:
    """A unit test that asks for this may connect to 127.0.0.1."""


@pytest.fixture(autouse=True)
def closed_network(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Refuses connections, and fails the test at its end even when the code under test swallowed the refusal."""
    if request.node.get_closest_marker("e2e") or request.node.get_closest_marker("image"):
        yield
        return
    allowed = _LOCAL if request.node.get_closest_marker("real") or "loopback" in request.fixturenames else ()
    refused: list[str] = []

    def refuse(what: str) -> None:
        refused.append(what)
        raise NetworkClosedError(f"{what}: the network is closed; ask for the fixture `loopback`, or use a fake")

    def guard(original: Callable[..., Any]) -> Callable[..., Any]:
        def connect(self: socket.socket, address: Any) -> Any:
            if self.family != socket.AF_UNIX and address[0] not in allowed:
                refuse(f"connect to {address}")
            return original(self, address)

        return connect

    resolve = socket.getaddrinfo

    def getaddrinfo(host: Any, *words: Any, **options: Any) -> Any:
        if host not in (None, "", *_LOCAL):
            refuse(f"look up {host!r}")
        return resolve(host, *words, **options)

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, guard(getattr(socket.socket, name)))
    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    yield
    if refused:
        pytest.fail(f"the test reached for the network: {', '.join(refused)}")


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
    """Three articles, sorted by id."""
    return [
        Document(id=name, title=title, licence="CC0-1.0", source="written for the tests", text=text)
        for name, (title, text) in sorted(ARTICLES.items())
    ]


@pytest.fixture
def rows() -> list[Row]:
    """Three rows that the articles answer and one that they do not."""
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


@dataclass(frozen=True)
class RealModels:
    """The served files of config/models.yaml."""

    chat: Path
    embed: Path
    specs: Models


@pytest.fixture(scope="session")
def models() -> RealModels:
    """The real models out of the user's cache, fetched there when they are missing. For tests marked `real`."""
    here = Workspace(ROOT)
    specs = load_models(here.config / "models.yaml")
    return RealModels(ensure(specs.chat, here.cache), ensure(specs.embed, here.cache), specs)
