"""The training loop: its learning rate, its refusals, and a few real steps whose adapter llama.cpp follows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from providing import ask_local
from sluice.core.errors import SluiceError
from sluice.core.workspace import Workspace
from sluice.llm.models import ensure, load_models
from sluice.training import lora
from sluice.training.dataset import Example
from sluice.training.export import BaseShape
from sluice.training.lora import add_adapter, fit, rate, train
from sluice.training.packing import Tokens, mask, pack
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


def tiny() -> Any:
    """A Llama of two small layers with random weights."""
    torch = pytest.importorskip("torch")
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    config = LlamaConfig(**sizes, num_attention_heads=4, num_key_value_heads=2, attn_implementation="eager")
    return LlamaForCausalLM(config)


SHARED = list(range(20, 40))
TOKENS = [Tokens([*SHARED, 1, 2], [7, 8]), Tokens([*SHARED, 3], [9]), Tokens([*SHARED, 4, 5, 6], [10, 11, 12])]


def test_a_pack_computes_what_its_examples_compute_alone() -> None:
    torch = pytest.importorskip("torch")
    model = tiny()
    (packed,), _ = pack(TOKENS, max_tokens=100, share=4)
    at, expected, _ = packed.labels()
    together = model(
        input_ids=torch.tensor([packed.ids]),
        position_ids=torch.tensor([packed.positions]),
        attention_mask=mask(packed, torch.float32),
        logits_to_keep=torch.tensor(at),
    ).logits[0]
    alone = [model(input_ids=torch.tensor([t.ids])).logits[0, len(t.prompt) - 1 : -1] for t in TOKENS]
    assert expected == [token for t in TOKENS for token in t.answer]
    assert torch.allclose(together, torch.cat(alone), atol=1e-5)


def test_training_lowers_the_loss_and_repeats_itself() -> None:
    pytest.importorskip("peft")
    params = TrainingParameters(steps=12, warmup=1, batch=2, learning_rate=1e-2, dtype="float32", threads=2)
    packs, _ = pack(TOKENS, max_tokens=100, share=1)
    runs = [fit(add_adapter(tiny(), params), packs, params, lambda *_: None) for _ in range(2)]
    assert runs[0].loss == runs[1].loss
    assert runs[0].loss[-1][1] < runs[0].loss[0][1]
    assert runs[0].answers == 24


def test_upper_layers_only() -> None:
    pytest.importorskip("peft")
    model = add_adapter(tiny(), TrainingParameters(layers=1))
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert trained
    assert all(".layers.1." in name for name in trained)
    with pytest.raises(SluiceError, match=r"train\.layers is 3, but the model has only 2"):
        add_adapter(tiny(), TrainingParameters(layers=3))
    with pytest.raises(SluiceError, match=r"train\.targets"):
        add_adapter(tiny(), TrainingParameters(targets=("no_such_projection",)))


def test_a_loss_that_is_no_number_stops_at_once() -> None:
    torch = pytest.importorskip("torch")
    params = TrainingParameters(steps=5, batch=1, dtype="float32")
    model = tiny()
    with torch.no_grad():
        model.model.norm.weight.fill_(float("nan"))
    steps: list[int] = []
    packs, _ = pack(TOKENS, max_tokens=100, share=4)
    with pytest.raises(SluiceError, match="step 1 of 5: the loss is nan"):
        fit(add_adapter(model, params), packs, params, lambda step, *_: steps.append(step))
    assert steps == []


class Letters:
    """Tokens are letters; the chat template is the bare text."""

    eos_token_id = 63

    def apply_chat_template(self, messages: list[dict[str, str]], **_: bool) -> str:
        return messages[-1]["content"]

    def __call__(self, text: str, **_: bool) -> dict[str, list[int]]:
        return {"input_ids": [ord(letter) % 60 for letter in text]}


@pytest.mark.parametrize("accepted", [True, False], ids=["llama.cpp takes it", "llama.cpp refuses it"])
def test_the_adapter_appears_whole_and_tried_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accepted: bool
) -> None:
    pytest.importorskip("peft")

    def probe(_: Path, adapter: Path) -> None:
        assert adapter.stat().st_size > 0
        assert not (out / "adapter.gguf").exists()
        if not accepted:
            raise SluiceError("llama.cpp cannot load it")

    base, out = tmp_path / "base.gguf", tmp_path / "out"
    base.write_bytes(b"base")
    monkeypatch.setattr(lora, "load_base", lambda *_: (tiny(), Letters(), BaseShape("llama", 2, 4, 2)))
    monkeypatch.setattr(lora, "probe", probe)
    params = TrainingParameters(steps=2, warmup=0, batch=1, dtype="float32", max_tokens=60)
    long = Example("long", ({"role": "user", "content": "x" * 99},), "y", False)
    if accepted:
        result = train(base, [*EXAMPLES, long], params, out, lambda *_: None)
        assert result.skipped == 1
        assert sorted(p.name for p in out.iterdir()) == ["adapter.gguf", "loss.csv", "training.json"]
        assert (out / "loss.csv").read_text().startswith("step,loss\n1,")
    else:
        with pytest.raises(SluiceError, match="cannot load it"):
            train(base, EXAMPLES, params, out, lambda *_: None)
        assert list(out.iterdir()) == []


@pytest.fixture(scope="module")
def base() -> Path:
    return ensure(load_models(ROOT / "config" / "models.yaml").chat, Workspace(ROOT).cache)


@pytest.mark.real
def test_a_few_steps_teach_what_llama_cpp_then_answers(base: Path, tmp_path: Path) -> None:
    from sluice.llm.local import LocalServer

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
            return [ask_local(server.base_url, e.messages, maxTokens=8)[0] for e in EXAMPLES]

    targets = [e.target for e in EXAMPLES]
    assert answers(result.adapter) == targets
    assert answers(None) != targets


@pytest.mark.real
def test_examples_that_are_all_too_long_are_an_error(base: Path, tmp_path: Path) -> None:
    with pytest.raises(SluiceError, match="longer than 16 tokens"):
        train(base, EXAMPLES, TrainingParameters(max_tokens=16), tmp_path, lambda *_: None)
    assert not list(tmp_path.iterdir())
