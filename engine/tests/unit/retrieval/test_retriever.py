import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sluice.core.errors import SluiceError
from sluice.core.processes import free_port
from sluice.data.rows import Document
from sluice.retrieval.embedder import Embedder
from sluice.retrieval.index_files import ChunkerSettings, build_index
from sluice.retrieval.retriever import Mode, PostgresRetriever, Retriever, open_retriever
from sluice.retrieval.stores import Stores

LOCAL = Stores.model_validate({"default": "local", "stores": {"local": {"kind": "embedded"}}})
CODES = ("QTR-2231", "QTR-7745", "QTR-9018")


@pytest.fixture(scope="module")
def index(models, embedder: Embedder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from conftest import ARTICLES

    documents = [
        Document(id=name, title=title, licence="CC0-1.0", source="tests", text=text)
        for name, (title, text) in ARTICLES.items()
    ]
    documents += [
        Document(
            id=code.lower(), title="Parts", licence="CC0-1.0", source="tests", text=f"The part {code} is in stock."
        )
        for code in CODES
    ]
    folder = tmp_path_factory.mktemp("retriever") / "index"
    build_index(documents, embedder, models.specs.embed, ChunkerSettings(), folder)
    return folder


@pytest.fixture(scope="module")
def retriever(index: Path, embedder: Embedder, state: Path) -> Iterator[Retriever]:
    with open_retriever(index, embedder, LOCAL, state) as retriever:
        yield retriever


@pytest.mark.real
def test_an_exact_rare_word_decides_between_near_vectors(retriever: Retriever) -> None:
    for code in CODES:
        hits = retriever.search(f"Is the part {code} in stock?", k=3)
        assert hits[0].doc_id == code.lower()
        assert {hit.doc_id for hit in hits} == {other.lower() for other in CODES}


class Fan:
    """Embeds `number N` as a direction N degrees off the questions, so that the order by vectors is known."""

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        found = (re.search(r"number (\d+)", text) for text in texts)
        angles = np.radians([int(match[1]) if match else 0 for match in found])
        return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


@pytest.mark.real
@pytest.mark.parametrize(
    ("angle", "found"),
    [(20, ["last", "d01", "d02"]), (60, ["d01", "d02", "d03"])],
    ids=["which is near", "but not one that is far"],
)
def test_a_rare_word_lifts_the_last_chunk(spec: Any, state: Path, tmp_path: Path, angle: int, found: list[str]) -> None:
    texts = {f"d{n:02}": f"Passage number {n}." for n in range(1, 20)}
    texts["last"] = f"Passage number {angle} names zqx4711."
    build_index(crowd(dict.fromkeys(texts), texts), Fan(), spec, ChunkerSettings(), tmp_path / "index")  # type: ignore[arg-type]
    with open_retriever(tmp_path / "index", Fan(), LOCAL, state) as fan:  # type: ignore[arg-type]
        assert [hit.doc_id for hit in fan.search("Which one?", k=3)] == ["d01", "d02", "d03"]
        assert [hit.doc_id for hit in fan.search("Which one is zqx4711?", k=3)] == found


def crowd(tenants: dict[str, str | None], texts: dict[str, str]) -> list[Document]:
    return [
        Document(id=name, title="T", licence="CC0-1.0", source="tests", text=texts[name], tenant=tenant)
        for name, tenant in tenants.items()
    ]


def visible(hits: Sequence[Any]) -> set[str]:
    return {hit.doc_id for hit in hits}


@pytest.mark.real
@pytest.mark.parametrize("question", ["Which one?", "Which one is zqx4711?"])
def test_a_tenant_sees_his_own_and_what_is_for_all(spec, state: Path, tmp_path: Path, question: str) -> None:
    """The nearest hundred, and all that hold the rare word, belong to another tenant."""
    others = {f"b{n:03}": "b" for n in range(1, 101)}
    tenants = {**others, "a120": "a", "shared130": None, "shared140": None}
    texts = {name: f"Passage number {int(name.strip('abshred'))} names zqx4711." for name in tenants}
    build_index(crowd(tenants, texts), Fan(), spec, ChunkerSettings(), tmp_path / "index")  # type: ignore[arg-type]
    with open_retriever(tmp_path / "index", Fan(), LOCAL, state) as fan:  # type: ignore[arg-type]
        assert visible(fan.search(question, k=50, tenant="a")) == {"a120", "shared130", "shared140"}
        for tenant in (None, "c", "", "B", "b'", "%"):
            assert visible(fan.search(question, k=50, tenant=tenant)) == {"shared130", "shared140"}
        assert visible(fan.search(question, k=3, tenant="b")) <= others.keys()
        assert {found.metadata["doc_id"] for found in fan.invoke(question, k=9)} == {"shared130", "shared140"}


@pytest.mark.real
@pytest.mark.parametrize("mode", ["text", "hybrid"])
def test_another_tenant_s_documents_change_no_score(spec: Any, state: Path, tmp_path: Path, mode: Mode) -> None:
    tenants: dict[str, str | None] = {"a1": "a", "a2": "a", "shared3": None}
    texts = {"a1": "number 1 zinc", "a2": "number 2 zinc tin", "shared3": "number 3 tin lead"}
    more = {f"b{n:02}": f"number {n} lead lead" for n in range(30)}
    scores = []
    for name, others in (("alone", {}), ("beside", more)):
        documents = crowd(tenants | dict.fromkeys(others, "b"), texts | others)
        build_index(documents, Fan(), spec, ChunkerSettings(), tmp_path / name)  # type: ignore[arg-type]
        with open_retriever(tmp_path / name, Fan(), LOCAL, state) as fan:  # type: ignore[arg-type]
            assert isinstance(fan, PostgresRetriever)
            hits = fan.search("zinc, tin or lead?", k=9, tenant="a", mode=mode)
            scores.append([(hit.doc_id, hit.score) for hit in hits])
    assert len(scores[0]) == 3
    assert scores[0] == scores[1]


@pytest.mark.real
def test_the_vector_index_goes_past_another_tenant_s_chunks(spec, state: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(7)

    class Cloud:
        """Questions point along the first axis; `number N` is near it for the other tenant, anywhere for the rest."""

        def embed(self, texts: Sequence[str]) -> np.ndarray:
            rows = []
            for text in texts:
                row = rng.normal(size=16)
                if "near" in text or "number" not in text:
                    row = row * 0.05 + np.eye(16)[0] * 3
                rows.append(row / np.linalg.norm(row))
            return np.asarray(rows, dtype=np.float32)

    tenants: dict[str, str | None] = {f"b{n}": "b" for n in range(2500)}
    tenants |= {f"s{n}": None for n in range(300)} | {f"a{n}": "a" for n in range(5)}
    texts = {name: f"{'near' if name[0] == 'b' else 'far'} number {name}" for name in tenants}
    documents = crowd(tenants, texts)
    info = build_index(documents, Cloud(), spec, ChunkerSettings(), tmp_path / "index")  # type: ignore[arg-type]
    with open_retriever(tmp_path / "index", Cloud(), LOCAL, state) as cloud:  # type: ignore[arg-type]
        for tenant in ("a", None):
            hits = cloud.search("zzz", k=20, tenant=tenant)
            assert len(hits) == 20
            assert {hit.doc_id[0] for hit in hits} <= ({"a", "s"} if tenant else {"s"})
        with cloud._pool.connection() as connection:
            names = "SELECT indexname FROM pg_indexes WHERE tablename = %s"
            assert any("embedding" in name for (name,) in connection.execute(names, [info.collection]))


@pytest.mark.real
@pytest.mark.parametrize(
    "question",
    [
        "'; DROP TABLE documents; --",
        "%(vector)s %s {table} $1",
        "a & b | c ! (d) <-> e:* \\ 'f''",
        "\x00 \ud800 漢字 😀 \u202e\u200b",
        "",
        "the of and",
        " ".join(f"w{number}" for number in range(5000)),
    ],
)
def test_any_text_is_only_a_question(retriever: Retriever, question: str) -> None:
    assert len(retriever.search(question, k=2)) == 2
    assert retriever.search("neighbouring chunks share", k=1)[0].doc_id == "chunking"  # nothing was harmed


@pytest.mark.real
def test_searches_at_the_same_time_do_not_mix(retriever: Retriever) -> None:
    questions = {"neighbouring chunks share": "chunking", "canary traffic share": "canary", "on call paged": "paging"}
    asked = list(questions) * 10
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda question: retriever.search(question, k=1)[0].doc_id, asked))
    assert found == [questions[question] for question in asked]


@pytest.mark.usefixtures("loopback")
def test_a_store_that_cannot_be_reached_is_named(build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build()
    monkeypatch.setenv("TEST_STORE_URL", f"postgresql://u:p@127.0.0.1:{free_port()}/db")
    store = {"kind": "postgres", "url_env": "TEST_STORE_URL"}
    stores = Stores.model_validate({"default": "far", "stores": {"far": store}})
    with (
        pytest.raises(SluiceError, match="store 'far' cannot be reached") as caught,
        open_retriever(tmp_path / "index", None, stores, tmp_path),  # type: ignore[arg-type]
    ):
        pass
    assert "u:p" not in str(caught.value)
