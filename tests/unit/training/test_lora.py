"""The training loop: its learning rate, its refusals, and a few real steps whose adapter llama.cpp follows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sluice.core.errors import SluiceError
from sluice.core.workspace import Workspace
from sluice.llm.models import ensure, load_models
from sluice.training.dataset import Example
from sluice.training.lora import rate, train
from sluice.training.parameters import TrainingParameters

ROOT = Path(__file__).parents[3]
EXAMPLES = [
    Example(
        f"e{n}",
        ({"role": "user", "content": f"[1] Codes: The code of {name} is {code}.\nCode of {name}?"},),
        code,
        False,
    )
    for n, (name, code) in enumerate({"alpha": "K7", "beta": "M2", "gamma": "P9", "delta": "R4"}.items())
]


def test_the_learning_rate_rises_and_falls_to_zero() -> None:
    params = TrainingParameters(steps=20, warmup=4)
    rates = [rate(step, params) for step in range(21)]
    assert rates[:5] == sorted(rates[:5])
    assert rates[4] == 1.0
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert rates[20] == 0.0


def test_no_examples_and_no_base_are_errors(tmp_path: Path) -> None:
    with pytest.raises(SluiceError, match="no training examples"):
        train(tmp_path / "base.gguf", [], TrainingParameters(), tmp_path, lambda *_: None)
    with pytest.raises(SluiceError, match=r"base\.gguf: the base model is missing"):
        train(tmp_path / "base.gguf", EXAMPLES, TrainingParameters(), tmp_path, lambda *_: None)


@pytest.fixture(scope="module")
def base() -> Path:
    return ensure(load_models(ROOT / "config" / "models.yaml").chat, Workspace(ROOT).cache)


@pytest.mark.real
def test_a_few_steps_teach_what_llama_cpp_then_answers(base: Path, tmp_path: Path) -> None:
    from sluice.llm.local import LocalServer
    from sluice.llm.providers import chat_model
    from sluice.prompts import ModelParameters

    steps: list[tuple[int, int, float]] = []
    params = TrainingParameters(steps=8, warmup=1, batch=2, learning_rate=2e-3)
    result = train(base, EXAMPLES, params, tmp_path, lambda *step: steps.append(step))
    assert [step[0] for step in steps] == list(range(1, 9))
    assert steps[-1][2] < steps[0][2] / 2
    record = json.loads((tmp_path / "training.json").read_text())
    assert record["samples"] == len(EXAMPLES)
    assert len(record["loss"]) == 8
    assert sorted(p.name for p in tmp_path.iterdir()) == ["adapter.gguf", "loss.csv", "training.json"]

    def answers(adapter: Path | None) -> list[str]:
        with LocalServer(base, adapter=adapter, threads=1, slots=1, context=1024) as server:
            model: Any = chat_model(server.base_url, timeout=60, parameters=ModelParameters(maxTokens=8))
            return [str(model.invoke(list(e.messages)).content) for e in EXAMPLES]

    targets = [e.target for e in EXAMPLES]
    assert answers(result.adapter) == targets
    assert answers(None) != targets


@pytest.mark.real
def test_examples_that_are_all_too_long_are_an_error(base: Path, tmp_path: Path) -> None:
    with pytest.raises(SluiceError, match="longer than 16 tokens"):
        train(base, EXAMPLES, TrainingParameters(max_tokens=16), tmp_path, lambda *_: None)
    assert not list(tmp_path.iterdir())
