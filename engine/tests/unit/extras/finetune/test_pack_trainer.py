"""Packs as the engines compute them: a pack is its examples, and both engines find the same gradient."""

from __future__ import annotations

import pytest
from sluice.extras.finetune.engines import ProcessEngine, ThreadEngine

from sluice.extras.finetune.packing import TokenizedExample, mask, pack
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


def test_a_pack_computes_what_its_examples_compute_alone() -> None:
    tiny = model()
    (packed,), _ = pack(TOKENS, max_tokens=100, share=4)
    at, expected, _ = packed.labels()
    together = tiny(
        input_ids=torch.tensor([packed.ids]),
        position_ids=torch.tensor([packed.positions]),
        attention_mask=mask(packed, torch.float32),
        logits_to_keep=torch.tensor(at),
    ).logits[0]
    alone = [tiny(input_ids=torch.tensor([t.ids])).logits[0, len(t.prompt) - 1 : -1] for t in TOKENS]
    assert expected == [token for t in TOKENS for token in t.answer]
    assert torch.allclose(together, torch.cat(alone), atol=1e-5)
    assert packed.plain_tokens == sum(len(t.ids) for t in TOKENS) > len(packed)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_process_with_a_device_finds_the_gradient_that_threads_find(dtype: str) -> None:
    params = PARAMS.model_copy(update={"dtype": dtype})
    packs, _ = pack(TOKENS, max_tokens=100, share=1)

    def adapted() -> object:
        adapter = add_adapter(model().to(getattr(torch, dtype)), params)
        for name, weight in adapter.named_parameters():
            if "lora_B" in name:  # zeros at first, and then the gradient of lora_A is zero too
                torch.nn.init.constant_(weight, 0.02)
        return adapter

    with ThreadEngine(adapted(), params, ALONE) as threads:
        loss, alone = threads.gradients(packs), threads.loss(packs)
    process = ProcessEngine(adapted(), params, ALONE)
    assert process.gradients(packs) == pytest.approx(loss, abs=1e-5 if dtype == "float32" else 0.05)
    for one, other in zip(process.masters, threads.masters, strict=True):
        close = torch.nn.functional.cosine_similarity(one.grad.flatten(), other.grad.flatten(), dim=0)
        assert close > (0.9999 if dtype == "float32" else 0.97)
    assert process.loss(packs) == pytest.approx(alone, abs=0.05)
