"""Converts published weights into the formats that are served fastest. Needs numpy, gguf and ctranslate2, no torch."""

from __future__ import annotations

import json
import tempfile
import zipfile
from pathlib import Path
from typing import Any

_LONG_AGO = (1980, 1, 1, 0, 0, 0)  # the same weights make the same bytes on every day


def bert_to_ctranslate2_int8(source: Path, target: Path) -> None:
    """Convert model.safetensors with config.json and vocab.txt beside it."""
    spec = _specification(source)
    spec.optimize(quantization="int8")
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(target, "w") as archive:
        spec.save(folder)
        for path in sorted(Path(folder).iterdir()):
            archive.writestr(zipfile.ZipInfo(path.name, _LONG_AGO), path.read_bytes())


def _specification(source: Path) -> Any:
    from ctranslate2.specs import common_spec, transformer_spec
    from safetensors.numpy import load_file

    config = json.loads((source.parent / "config.json").read_text())
    weights = load_file(source)
    encoder = transformer_spec.TransformerEncoderSpec(
        config["num_hidden_layers"],
        config["num_attention_heads"],
        pre_norm=False,
        activation=common_spec.Activation.GELU,
        layernorm_embedding=True,
        num_source_embeddings=2,
        embeddings_merge=common_spec.EmbeddingsMerge.ADD,
    )
    encoder.scale_embeddings = False
    words, kinds = encoder.embeddings
    words.weight = weights["embeddings.word_embeddings.weight"]
    kinds.weight = weights["embeddings.token_type_embeddings.weight"]
    encoder.position_encodings.encodings = weights["embeddings.position_embeddings.weight"]
    _norm(encoder.layernorm_embedding, weights, "embeddings.LayerNorm")
    for number, layer in enumerate(encoder.layer):
        _layer(layer, weights, f"encoder.layer.{number}")
    spec = transformer_spec.TransformerEncoderModelSpec(encoder, pooling_layer=False)
    spec.config.layer_norm_epsilon = config["layer_norm_eps"]
    spec.config.unk_token = "[UNK]"
    spec.register_vocabulary((source.parent / "vocab.txt").read_text(encoding="utf-8").splitlines())
    spec.validate()
    return spec


def _layer(layer: Any, weights: dict[str, Any], name: str) -> None:
    attention, after = layer.self_attention.linear
    _linear(attention, weights, *(f"{name}.attention.self.{part}" for part in ("query", "key", "value")))
    _linear(after, weights, f"{name}.attention.output.dense")
    _norm(layer.self_attention.layer_norm, weights, f"{name}.attention.output.LayerNorm")
    _linear(layer.ffn.linear_0, weights, f"{name}.intermediate.dense")
    _linear(layer.ffn.linear_1, weights, f"{name}.output.dense")
    _norm(layer.ffn.layer_norm, weights, f"{name}.output.LayerNorm")


def _linear(spec: Any, weights: dict[str, Any], *names: str) -> None:
    """Join the layers in `names`, which read the same input."""
    import numpy as np

    spec.weight = np.concatenate([weights[f"{name}.weight"] for name in names])
    spec.bias = np.concatenate([weights[f"{name}.bias"] for name in names])


def _norm(spec: Any, weights: dict[str, Any], name: str) -> None:
    spec.gamma = weights[f"{name}.weight"]
    spec.beta = weights[f"{name}.bias"]


def requantise_q8_0(source: Path, target: Path) -> None:
    """GGUF -> GGUF with every quantised tensor as Q8_0; metadata and f32 tensors are carried over as they are."""
    import gguf

    q8 = gguf.GGMLQuantizationType.Q8_0
    reader = gguf.GGUFReader(source)
    architecture = reader.fields["general.architecture"].contents()
    writer = gguf.GGUFWriter(target, architecture)
    for entry in reader.fields.values():
        if entry.name.startswith("GGUF.") or entry.name in ("general.architecture", "general.file_type"):
            continue
        kind = entry.types[0]
        inner = entry.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(entry.name, entry.contents(), kind, inner)
    writer.add_file_type(int(gguf.LlamaFileType.MOSTLY_Q8_0))
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        if tensor.tensor_type == gguf.GGMLQuantizationType.F32:
            writer.add_tensor(tensor.name, values)
        else:
            writer.add_tensor(tensor.name, gguf.quants.quantize(values, q8), raw_dtype=q8)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


# The function, and the suffix of what it makes.
CONVERSIONS = {"q8_0": (requantise_q8_0, ".gguf"), "bert-int8": (bert_to_ctranslate2_int8, ".zip")}
