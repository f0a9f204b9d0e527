import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

from conftest import ROOT
from sluice.core.errors import SluiceError
from sluice.core.extras import FOLDER
from sluice.extras.finetune import base_model
from sluice.extras.finetune.base_model import (
    computed_dtype,
    load_base,
    processor_flags,
    require_training_packages,
    tokenise,
)
from sluice.extras.finetune.dataset import Example
from sluice.extras.finetune.training_parameters import TrainingParameters
from unit.extras.finetune.tiny import LETTERS, tokenizer

AVX512 = "fpu sse2 avx f16c avx2 fma bmi2 avx512f avx512dq avx512bw avx512vl avx512_vnni"


def test_answers_follow_the_chat_template_end_the_turn_and_alone_are_learned() -> None:
    pytest.importorskip("transformers")
    example = Example("e", ({"role": "user", "content": "ab"},), "cd", False)
    (tokens,) = tokenise([example], tokenizer())
    bar = LETTERS.index("|") + 2  # of the template, where an answer begins; 0 ends it
    assert tokens == {"input_ids": [2, 3, bar, 4, 5, 0], "labels": [-100] * 3 + [4, 5, 0]}


def test_missing_packages_are_installed_by_a_checkout_and_named_elsewhere(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    real: Any = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "trl" else real(name))
    monkeypatch.setattr(sys, "prefix", str(tmp_path / ".venv"))
    with pytest.raises(SluiceError, match="train needs torch, transformers and peft"):
        require_training_packages()
    (tmp_path / ".venv").mkdir()
    setup = tmp_path / "engine" / "scripts" / "setup.py"
    setup.parent.mkdir(parents=True)
    setup.write_text("import pathlib, sys\npathlib.Path('asked').write_text(sys.argv[2])\n")
    require_training_packages()
    assert (tmp_path / "asked").read_text() == "training"
    setup.write_text("raise SystemExit('asked twice')")
    require_training_packages()


def test_torch_is_asked_for_by_a_range_that_any_build_satisfies() -> None:
    asked = ROOT / FOLDER / "finetune" / "requirements" / "torch.in"
    lines = [line for line in asked.read_text().splitlines() if not line.startswith("#")]
    assert [line for line in lines if line.startswith("torch")]
    assert not [line for line in lines if "+" in line or "==" in line]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (f"flags\t\t: {AVX512}", "float32"),  # Xeon, second generation
        (f"flags\t\t: {AVX512} avx512_bf16", "bfloat16"),  # AMD EPYC 9004
        (f"flags\t\t: {AVX512} amx_bf16 amx_tile amx_int8", "bfloat16"),  # Xeon, fourth generation
        ("Features\t: fp asimd fphp asimdhp", "float32"),  # Graviton 2
        ("Features\t: fp asimd sve bf16 i8mm", "bfloat16"),  # Graviton 3
        ("", "float32"),
    ],
)
def test_a_processor_computes_in_bfloat16_only_where_it_multiplies_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, expected: str
) -> None:
    """The flags are those that Linux lists for the processors named beside them."""
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor\t: 0\n{line}\n\nprocessor\t: 1\n")
    flags = processor_flags(cpuinfo)
    monkeypatch.setattr(base_model, "processor_flags", lambda: flags)
    assert computed_dtype("auto") == expected
    assert (computed_dtype("bfloat16"), computed_dtype("float32")) == ("bfloat16", "float32")
    monkeypatch.setattr(base_model.sys, "platform", "darwin")
    assert processor_flags(cpuinfo) == set()  # torch has no bfloat16 for Apple's


@pytest.mark.parametrize("content", [b"", b"no model at all, only words" * 20], ids=["empty", "not GGUF"])
def test_a_broken_base_is_an_error_that_names_it(tmp_path: Path, content: bytes) -> None:
    pytest.importorskip("transformers")
    base = tmp_path / "base.gguf"
    base.write_bytes(content)
    with pytest.raises(SluiceError, match=r"base\.gguf: transformers cannot read this model"):
        load_base(base, TrainingParameters())


def test_qlora_needs_a_gpu_and_published_weights(tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    params = TrainingParameters(method="qlora")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SluiceError, match=r"qlora, which needs a CUDA GPU.*\n.*set train\.method to lora"):
        load_base(tiny_base, params)
    file = tiny_base / "base.gguf"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object())
    file.write_bytes(b"GGUF")
    with pytest.raises(SluiceError, match=r"this is a GGUF file\n.*`weights`"):
        load_base(file, params)
    file.unlink()
