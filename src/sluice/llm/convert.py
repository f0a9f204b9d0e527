"""Makes the GGUF files that llama.cpp serves best out of the published weights. Needs numpy and gguf, no torch."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


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
    _finish(writer)


def bert_to_gguf_f16(source: Path, target: Path) -> None:
    """A sentence-transformers BERT (model.safetensors, config.json, vocab.txt in one folder) -> GGUF, f16 weights."""
    _bert_to_gguf(source, target, "F16")


def bert_to_gguf_q8_0(source: Path, target: Path) -> None:
    """The same with Q8_0 weights, for which llama.cpp has faster kernels."""
    _bert_to_gguf(source, target, "Q8_0")


def _bert_to_gguf(source: Path, target: Path, weights: str) -> None:
    """One-dimensional tensors, position and token-type embeddings stay f32: llama.cpp aborts on others."""
    import gguf
    import numpy as np
    from safetensors.numpy import load_file

    kind = gguf.GGMLQuantizationType[weights]
    config = json.loads((source.parent / "config.json").read_text())
    writer = gguf.GGUFWriter(target, "bert")
    writer.add_name(source.parent.name)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_layer_norm_eps(config["layer_norm_eps"])
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType.MEAN)
    _add_wordpiece(writer, (source.parent / "vocab.txt").read_text(encoding="utf-8").splitlines())
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.BERT, config["num_hidden_layers"])
    for name, tensor in load_file(source).items():
        if "pooler" in name or name.endswith("position_ids"):
            continue
        mapped = names.get_name(name, try_suffixes=(".weight", ".bias"))
        keep = tensor.ndim == 1 or mapped.startswith(("position_embd", "token_types"))
        values = tensor.astype(np.float32)
        if keep:
            writer.add_tensor(mapped, values)
        else:
            writer.add_tensor(mapped, gguf.quants.quantize(values, kind), raw_dtype=kind)
    _finish(writer)


def _add_wordpiece(writer: Any, vocabulary: list[str]) -> None:
    """WordPiece as llama.cpp stores it: U+2581 before word starts, continuations without their `##`."""
    import gguf

    special = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}
    tokens, kinds = [], []
    for token in vocabulary:
        if token in special or (token.startswith("[unused") and token.endswith("]")):
            tokens.append(token)
            kinds.append(gguf.TokenType.CONTROL if token in special else gguf.TokenType.UNUSED)
            continue
        tokens.append(token[2:] if token.startswith("##") else f"\u2581{token}")
        kinds.append(gguf.TokenType.NORMAL)
    writer.add_tokenizer_model("bert")
    writer.add_token_type_count(2)
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_unk_token_id(vocabulary.index("[UNK]"))
    writer.add_bos_token_id(vocabulary.index("[CLS]"))
    writer.add_eos_token_id(vocabulary.index("[SEP]"))
    writer.add_sep_token_id(vocabulary.index("[SEP]"))
    writer.add_pad_token_id(vocabulary.index("[PAD]"))
    writer.add_mask_token_id(vocabulary.index("[MASK]"))


def _finish(writer: Any) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


CONVERSIONS: dict[str, Callable[[Path, Path], None]] = {
    "q8_0": requantise_q8_0,
    "bert-f16": bert_to_gguf_f16,
    "bert-q8_0": bert_to_gguf_q8_0,
}
