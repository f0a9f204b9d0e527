from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sluice.llm.model_conversion import requantise_q8_0
from sluice.retrieval.embedder import Embedder


@pytest.mark.real
def test_the_embedder_is_what_the_published_model_is(models) -> None:
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    texts = [
        "A cat sits on the mat.",
        "A kitten is lying on a rug.",
        "The budget was approved on Monday.",
        "How long are chunks?",
        "A canary gets a small share of the traffic first. " * 9,
        "été 漢字 naïve",
        "x = f(y)",
    ]
    published = transformers.BertModel.from_pretrained(models.embed.parent)
    tokenizer = transformers.BertTokenizerFast(str(models.embed.parent / "vocab.txt"))

    def exact(text: str) -> np.ndarray:
        """The published model in 32 bits: the mean of the last hidden states, at unit length."""
        with torch.no_grad():
            states = published(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        return np.asarray(torch.nn.functional.normalize(states.mean(0), dim=0))

    with Embedder(models.embed) as embedder:
        vectors = embedder.embed(texts)
    assert (vectors.shape, vectors.dtype) == ((len(texts), 384), np.float32)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    for vector, text in zip(vectors, texts, strict=True):
        assert float(vector @ exact(text)) > 0.994, text
    near, far = float(vectors[0] @ vectors[1]), float(vectors[0] @ vectors[2])
    assert near > 0.5
    assert abs(far) < 0.2


@pytest.fixture
def tiny(tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """A GGUF of three tensors, one of them Q4_1, and the values that it holds."""
    import gguf

    random = np.random.default_rng(7)
    matrix = random.normal(size=(8, 64)).astype(np.float32)
    q4 = gguf.GGMLQuantizationType.Q4_1
    packed = gguf.quants.quantize(matrix, q4)
    path = tmp_path / "tiny.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_block_count(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_token_list(["a", "▁b", "漢"])
    writer.add_token_scores([0.0, -1.5, 2.0])
    writer.add_file_type(3)
    norm = random.normal(size=64).astype(np.float32)
    half = random.normal(size=(4, 32)).astype(np.float16)
    writer.add_tensor("output_norm.weight", norm)
    writer.add_tensor("blk.0.attn_q.weight", packed, raw_dtype=q4)
    writer.add_tensor("token_embd.weight", half)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path, {"norm": norm, "matrix": gguf.quants.dequantize(packed, q4), "half": half.astype(np.float32)}


def test_tensors_keep_their_values_and_become_q8_0(tiny, tmp_path: Path) -> None:
    import gguf

    source, values = tiny
    target = tmp_path / "out.gguf"
    requantise_q8_0(source, target)
    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(target).tensors}
    kinds = gguf.GGMLQuantizationType
    assert {name: tensor.tensor_type for name, tensor in tensors.items()} == {
        "output_norm.weight": kinds.F32,
        "blk.0.attn_q.weight": kinds.Q8_0,
        "token_embd.weight": kinds.Q8_0,
    }
    np.testing.assert_array_equal(tensors["output_norm.weight"].data, values["norm"])
    for name, expected in (("blk.0.attn_q.weight", values["matrix"]), ("token_embd.weight", values["half"])):
        found = gguf.quants.dequantize(tensors[name].data, kinds.Q8_0).reshape(expected.shape)
        np.testing.assert_allclose(found, expected, atol=np.abs(expected).max() / 127)
    assert list(tensors["blk.0.attn_q.weight"].shape) == [64, 8]


def test_metadata_is_carried_over(tiny, tmp_path: Path) -> None:
    import gguf

    source, _ = tiny
    target = tmp_path / "out.gguf"
    requantise_q8_0(source, target)
    before, after = gguf.GGUFReader(source).fields, gguf.GGUFReader(target).fields
    assert set(after) == set(before)
    for name in before:
        if not name.startswith("GGUF.") and name != "general.file_type":
            assert after[name].contents() == before[name].contents(), name
            assert after[name].types == before[name].types, name
    assert after["general.file_type"].contents() == int(gguf.LlamaFileType.MOSTLY_Q8_0)
