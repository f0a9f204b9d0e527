"""Packs as the trainer computes them: a pack is its examples, and threads find the same gradient."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from sluice.extras.finetune.checkpoints import Checkpoints
from sluice.extras.finetune.packing import Pack, TokenizedExample, join, mask, pack
from sluice.extras.finetune.process_group import ProcessGroup
from sluice.extras.finetune.training_methods import add_adapter
from support.libraries import Library
from unit.extras.finetune.tiny import PARAMS, model

torch = Library("torch")
ALONE = ProcessGroup(0, 1, "cpu")
SHARED = list(range(20, 40))
TOKENS = [
    TokenizedExample([*SHARED, 1, 2], [7, 8]),
    TokenizedExample([*SHARED, 3], [9]),
    TokenizedExample([*SHARED, 4, 5, 6], [10, 11, 12]),
]


def joined() -> list[Pack]:
    return join(pack(TOKENS, max_tokens=100, share=1)[0], 3, max_tokens=100)


@pytest.mark.parametrize("packs", [lambda: pack(TOKENS, max_tokens=100, share=4)[0], joined], ids=["shared", "joined"])
def test_a_pack_computes_what_its_examples_compute_alone(packs: Callable[[], list[Pack]]) -> None:
    tiny = model()
    (packed,) = packs()
    at, expected, _ = packed.labels()
    together = tiny(
        input_ids=torch.tensor([packed.ids]),
        position_ids=torch.tensor([packed.positions]),
        attention_mask=mask(packed, torch.float32),
        logits_to_keep=torch.tensor(at),
    ).logits[0]
    examples = [next(t for t in TOKENS if t.ids == packed.prefix + tail) for tail in packed.tails]
    alone = [tiny(input_ids=torch.tensor([t.ids])).logits[0, len(t.prompt) - 1 : -1] for t in examples]
    assert len(examples) == len(TOKENS)
    assert expected == [token for t in examples for token in t.answer]
    assert torch.allclose(together, torch.cat(alone), atol=1e-5)
    assert packed.plain_tokens == sum(len(t.ids) for t in TOKENS) > len(packed)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_packs_in_turn_find_the_gradient_that_threads_find(dtype: str, tmp_path: Path) -> None:
    from sluice.extras.finetune.pack_trainer import PackTrainer, StepShare
    from sluice.extras.finetune.training_loop import _arguments

    params = PARAMS.model_copy(update={"dtype": dtype})
    packs, _ = pack(TOKENS, max_tokens=100, share=1)
    checkpoints = Checkpoints(tmp_path, "0" * 64)

    def computed(pool: Executor | None) -> tuple[float, list[Any], float]:
        adapter = add_adapter(model().to(getattr(torch, dtype)), params)
        for name, weight in adapter.named_parameters():
            if "lora_B" in name:  # zeros at first, and then the gradient of lora_A is zero too
                torch.nn.init.constant_(weight, 0.02)
            if weight.requires_grad:
                weight.data = weight.data.float()
        arguments = _arguments(params, ALONE, checkpoints, held=False)
        trainer = PackTrainer(params, pool, checkpoints, 0.0, model=adapter, args=arguments, eval_dataset=packs)
        prepared = trainer.accelerator.prepare(adapter)
        loss = float(trainer.training_step(prepared, {"share": StepShare(packs, 3)}))
        return loss, [one.grad for one in adapter.parameters() if one.requires_grad], trainer.evaluate()["eval_loss"]

    with ThreadPoolExecutor(2) as pool:
        loss, gradients, held = computed(pool)
    found, ours, alone = computed(None)
    assert found == pytest.approx(loss, abs=1e-5 if dtype == "float32" else 0.05)
    for one, other in zip(ours, gradients, strict=True):
        close = torch.nn.functional.cosine_similarity(one.flatten(), other.flatten(), dim=0)
        assert close > (0.9999 if dtype == "float32" else 0.97)
    assert alone == pytest.approx(held, abs=0.05)
    assert loss == pytest.approx(held, abs=1e-4 if dtype == "float32" else 0.05)
