"""Converts published weights into the formats that are served fastest. Needs numpy and gguf, no torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from sluice.llm.bert_conversion import bert_to_ctranslate2_int8


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


class ModelConversion(NamedTuple):
    """`convert` reads the published file and writes the one that is served; `suffix` is that one's."""

    convert: Callable[[Path, Path], None]
    suffix: str


CONVERSIONS = {
    "q8_0": ModelConversion(requantise_q8_0, ".gguf"),
    "bert-int8": ModelConversion(bert_to_ctranslate2_int8, ".zip"),
}
