"""Which number format training computes in: `train.dtype: auto`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

Dtype = Literal["bfloat16", "float32"]
# Flags of /proc/cpuinfo. AVX-512 without AVX512_BF16 is not enough: torch then converts element by element, which is
# 10 to 100 times slower than float32 (pytorch issues 118499 and 146508).
_MULTIPLY_BFLOAT16 = {"amx_bf16", "avx512_bf16", "bf16", "svebf16"}


def computed_dtype(dtype: Literal["auto", "bfloat16", "float32"], device: str) -> Dtype:
    """`dtype`, or for auto the fastest that the device has: bfloat16 only where it multiplies bfloat16 in hardware."""
    if dtype != "auto":
        return dtype
    if device == "cpu":
        fast = bool(_MULTIPLY_BFLOAT16 & processor_flags())
    else:
        import torch

        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    return "bfloat16" if fast else "float32"


def processor_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> set[str]:
    """Feature flags of the first core. Empty outside Linux: torch for macOS has no bfloat16 kernel for processors."""
    if sys.platform != "linux":
        return set()
    lines = cpuinfo.read_text(errors="replace").splitlines()
    # x86 has `flags`, Arm has `Features`.
    flags = (line.partition(":")[2] for line in lines if line.startswith(("flags", "Features")))
    return set(next(flags, "").split())
