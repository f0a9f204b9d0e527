"""`train.dtype: auto`. The flags are those that Linux lists for the processors named beside them."""

from __future__ import annotations

from pathlib import Path

import pytest

from sluice.extras.finetune import dtype
from sluice.extras.finetune.dtype import computed_dtype, processor_flags

AVX2 = "fpu sse2 avx f16c avx2 fma bmi2"
AVX512 = f"{AVX2} avx512f avx512dq avx512bw avx512vl avx512_vnni"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (f"flags\t\t: {AVX2}", "float32"),  # AMD EPYC 7763, most laptops
        (f"flags\t\t: {AVX512}", "float32"),  # Xeon, second generation
        (f"flags\t\t: {AVX512} avx512_bf16", "bfloat16"),  # AMD EPYC 9004
        (f"flags\t\t: {AVX512} avx512_bf16 amx_bf16 amx_tile amx_int8", "bfloat16"),  # Xeon, fourth generation
        ("Features\t: fp asimd fphp asimdhp", "float32"),  # Graviton 2
        ("Features\t: fp asimd sve bf16 i8mm", "bfloat16"),  # Graviton 3
        ("", "float32"),
    ],
)
def test_a_processor_computes_in_bfloat16_only_where_it_multiplies_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, expected: str
) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor\t: 0\n{line}\n\nprocessor\t: 1\n")
    flags = processor_flags(cpuinfo)
    monkeypatch.setattr(dtype, "processor_flags", lambda: flags)
    assert computed_dtype("auto", "cpu") == expected


def test_an_apple_processor_computes_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dtype.sys, "platform", "darwin")
    assert computed_dtype("auto", "cpu") == "float32"


@pytest.mark.parametrize("chosen", ["bfloat16", "float32"])
def test_what_is_named_is_used(monkeypatch: pytest.MonkeyPatch, chosen: str) -> None:
    monkeypatch.setattr(dtype, "processor_flags", set)
    assert computed_dtype(chosen, "cpu") == chosen  # type: ignore[arg-type]
