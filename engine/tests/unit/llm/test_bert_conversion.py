from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from sluice.llm.model_conversion import bert_to_ctranslate2_int8
from sluice.retrieval.embedder import Embedder

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "how", "long", "are", "chunk", "##s", "?", "canary"]
# The published model is compared on every processor: test_the_embedder_is_what_the_published_model_is.
CPU = cpuinfo.read_text() if (cpuinfo := Path("/proc/cpuinfo")).exists() else ""
SHAPE = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}


class ExactBert:
    """The published model in 32 bits, straight from its definition (Devlin et al., 2018): the mean of the last hidden
    states, at unit length."""

    def __init__(self, model: Path) -> None:
        self._config = json.loads((model.parent / "config.json").read_text())
        self._weights = load_file(model)

    def embed(self, tokens: Sequence[int]) -> np.ndarray:
        heads, width = self._config["num_attention_heads"], self._config["hidden_size"]
        table = {
            kind: self._weights[f"embeddings.{kind}_embeddings.weight"] for kind in ("word", "position", "token_type")
        }
        x = table["word"][list(tokens)] + table["position"][: len(tokens)] + table["token_type"][0]
        x = self._norm(x, "embeddings.LayerNorm")
        for number in range(self._config["num_hidden_layers"]):
            layer = f"encoder.layer.{number}"
            query, key, value = (
                self._linear(x, f"{layer}.attention.self.{part}").reshape(len(x), heads, -1).swapaxes(0, 1)
                for part in ("query", "key", "value")
            )
            scores = np.exp(query @ key.swapaxes(1, 2) / math.sqrt(width / heads))
            mixed = (scores / scores.sum(axis=-1, keepdims=True) @ value).swapaxes(0, 1).reshape(len(x), width)
            x = self._norm(
                x + self._linear(mixed, f"{layer}.attention.output.dense"), f"{layer}.attention.output.LayerNorm"
            )
            inner = self._linear(x, f"{layer}.intermediate.dense")
            inner = inner * (1 + np.vectorize(math.erf)(inner / math.sqrt(2))) / 2
            x = self._norm(x + self._linear(inner, f"{layer}.output.dense"), f"{layer}.output.LayerNorm")
        mean = x.mean(axis=0)
        return mean / np.linalg.norm(mean)

    def _linear(self, x: np.ndarray, name: str) -> np.ndarray:
        return x @ self._weights[f"{name}.weight"].T + self._weights[f"{name}.bias"]

    def _norm(self, x: np.ndarray, name: str) -> np.ndarray:
        centred = x - x.mean(axis=-1, keepdims=True)
        spread = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + self._config["layer_norm_eps"])
        return centred / spread * self._weights[f"{name}.weight"] + self._weights[f"{name}.bias"]


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A BERT of two layers with weights by chance."""
    random = np.random.default_rng(7)
    width, inner = SHAPE["hidden_size"], SHAPE["intermediate_size"]
    shapes = {"word": (len(WORDS), width), "position": (32, width), "token_type": (2, width)}
    weights = {f"embeddings.{kind}_embeddings.weight": shape for kind, shape in shapes.items()}
    sizes = {
        "attention.output.dense": (width, width),
        "intermediate.dense": (inner, width),
        "output.dense": (width, inner),
    }
    sizes |= {f"attention.self.{part}": (width, width) for part in ("query", "key", "value")}
    for number in range(SHAPE["num_hidden_layers"]):
        for name, size in sizes.items():
            weights |= {f"encoder.layer.{number}.{name}.weight": size, f"encoder.layer.{number}.{name}.bias": size[:1]}
    values: dict[str, Any] = {name: random.normal(0, 0.3, size).astype(np.float32) for name, size in weights.items()}
    layers = [f"encoder.layer.{number}." for number in range(SHAPE["num_hidden_layers"])]
    for name in ("embeddings.", *(f"{layer}{part}output." for layer in layers for part in ("attention.", ""))):
        values[f"{name}LayerNorm.weight"] = random.normal(1, 0.1, width).astype(np.float32)
        values[f"{name}LayerNorm.bias"] = random.normal(0, 0.1, width).astype(np.float32)
    save_file(values, tmp_path / "model.safetensors")
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    (tmp_path / "config.json").write_text(json.dumps(SHAPE | {"layer_norm_eps": 1e-12}))
    return tmp_path / "model.safetensors"


@pytest.mark.skipif(
    "vnni" not in CPU, reason="without VNNI int8 products saturate, which random weights do not survive"
)
def test_the_converted_model_is_the_published_one(tiny: Path, tmp_path: Path) -> None:
    bert_to_ctranslate2_int8(tiny, tmp_path / "tiny.zip")
    texts = {"How long are chunks?": [2, 5, 6, 7, 8, 9, 10, 3], "canary": [2, 11, 3], "What?": [2, 1, 10, 3]}
    exact = ExactBert(tiny)
    with Embedder(tmp_path / "tiny.zip") as embedder:
        found = embedder.embed(list(texts))
    for vector, tokens in zip(found, texts.values(), strict=True):
        assert float(vector @ exact.embed(tokens)) > 0.999
    assert float(found[0] @ found[1]) < 0.9


@pytest.mark.real
def test_the_embedder_is_what_the_published_model_is(models) -> None:
    from tokenizers.implementations import BertWordPieceTokenizer

    texts = [
        "A cat sits on the mat.",
        "A kitten is lying on a rug.",
        "The budget was approved on Monday.",
        "How long are chunks?",
        "A canary gets a small share of the traffic first. " * 9,
        "été 漢字 naïve",
        "x = f(y)",
    ]
    exact = ExactBert(models.embed.parent / "model.safetensors")
    tokenizer = BertWordPieceTokenizer(str(models.embed.parent / "vocab.txt"))
    with Embedder(models.embed) as embedder:
        vectors = embedder.embed(texts)
    assert (vectors.shape, vectors.dtype) == ((len(texts), 384), np.float32)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    for vector, text in zip(vectors, texts, strict=True):
        assert float(vector @ exact.embed(tokenizer.encode(text).ids)) > 0.994, text
    near, far = float(vectors[0] @ vectors[1]), float(vectors[0] @ vectors[2])
    assert near > 0.5
    assert abs(far) < 0.2
