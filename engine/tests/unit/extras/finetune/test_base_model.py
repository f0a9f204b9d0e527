"""What training starts from: packages, the base file, tokens in the model's own chat template."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from sluice.core import training_packages
from sluice.core.errors import SluiceError
from sluice.extras.finetune.base_model import load_base, require_training_packages, tokenise
from sluice.extras.finetune.dataset import Example
from sluice.extras.finetune.training_parameters import TrainingParameters


class Words:
    """A tokenizer whose tokens are the lengths of words, and a chat template that names roles."""

    eos_token_id = 0

    def apply_chat_template(self, messages: list[dict[str, str]], **options: bool) -> str:
        assert options == {"add_generation_prompt": True, "tokenize": False}
        return " ".join(f"{m['role']} {m['content']}" for m in messages) + " assistant"

    def __call__(self, text: str, *, add_special_tokens: bool) -> dict[str, list[int]]:
        assert not add_special_tokens
        return {"input_ids": [len(word) for word in text.split()]}


def test_answers_follow_the_chat_template_and_end_the_turn() -> None:
    example = Example("e", ({"role": "user", "content": "how long"},), "forty days", False)
    tokens = tokenise([example], Words())[0]
    assert tokens.prompt == [4, 3, 4, 9]
    assert tokens.answer == [5, 4, 0]


def test_missing_packages_are_installed_by_a_checkout_and_named_elsewhere(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    real: Any = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in ("torch", "peft") else real(name))
    monkeypatch.setattr(training_packages.sys, "prefix", str(tmp_path / ".venv"))
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


@pytest.mark.parametrize("content", [b"", b"no model at all, only words" * 20], ids=["empty", "not GGUF"])
def test_a_broken_base_is_an_error_that_names_it(tmp_path: Path, content: bytes) -> None:
    pytest.importorskip("transformers")
    base = tmp_path / "base.gguf"
    base.write_bytes(content)
    with pytest.raises(SluiceError, match=r"base\.gguf: transformers cannot read this model"):
        load_base(base, TrainingParameters())
