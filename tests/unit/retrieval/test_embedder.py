from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sluice.core.errors import SluiceError
from sluice.llm.convert import bert_to_gguf_f16
from sluice.retrieval.embedder import Embedder


def scripted(handle) -> Embedder:
    embedder = Embedder.__new__(Embedder)
    embedder._server = SimpleNamespace(handle_embeddings=handle)
    return embedder


def test_order_is_that_of_the_texts_across_batches() -> None:
    sizes: list[int] = []

    def handle(request: dict[str, Any]) -> dict[str, Any]:
        sizes.append(len(request["input"]))
        data = [{"index": n, "embedding": [float(text)]} for n, text in enumerate(request["input"])]
        return {"data": data[::-1]}

    found = scripted(handle).embed([str(number) for number in range(70)])
    assert found[:, 0].tolist() == list(range(70))
    assert sizes == [32, 32, 6]


def test_a_refusal_is_an_error() -> None:
    with pytest.raises(SluiceError, match=r"refused a text: .*no slot"):
        scripted(lambda _: {"error": {"type": "server_error", "message": "no slot"}}).embed(["x"])


@pytest.mark.real
@pytest.mark.parametrize("text", ["!" * 600, "漢" * 1800, "ab1?" * 450, "! " * 50_000, "word " * 5000, "😀" * 1800])
def test_a_text_with_too_many_tokens_is_cut(embedder: Embedder, text: str) -> None:
    found = embedder.embed(["short", text, "other"])
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-4)
    assert float(found[0] @ embedder.embed(["short"])[0]) > 0.999


@pytest.mark.real
@pytest.mark.parametrize("text", ["", " \n", "\x00", "a\x00b", "\u200b"])
def test_texts_without_words(embedder: Embedder, text: str) -> None:
    assert np.isfinite(embedder.embed([text])).all()


@pytest.mark.real
def test_fewer_bits_leave_the_vectors_where_they_are(embedder: Embedder, models: Any, tmp_path: Path) -> None:
    bert_to_gguf_f16(models.embed.parent / "model.safetensors", tmp_path / "f16.gguf")
    texts = [
        "How long are chunks?",
        "A canary gets a small share of the traffic first. " * 9,
        "été 漢字 naïve",
        "x = f(y)",
    ]
    with Embedder(tmp_path / "f16.gguf") as exact:
        cosines = (exact.embed(texts) * embedder.embed(texts)).sum(axis=1)
    assert cosines.min() > 0.999


@pytest.mark.real
def test_the_same_text_has_the_same_vector_wherever_it_stands(embedder: Embedder) -> None:
    alone = embedder.embed(["How long are chunks?"])[0]
    among = embedder.embed(["Who is paged?"] * 5 + ["How long are chunks?"] + ["A canary."] * 40)[5]
    assert float(alone @ among) > 0.999
