"""Our attention computes what transformers' eager one computes, forwards and backwards, also when it writes text."""

from __future__ import annotations

import pytest

from sluice.extras.finetune.attention import NAME, register
from sluice.extras.finetune.packing import TokenizedExample, pack, pack_loss
from support.libraries import Library
from unit.extras.finetune.tiny import model

torch = Library("torch")
SHARED = list(range(20, 40))
TOKENS = [
    TokenizedExample([*SHARED, 1, 2], [7, 8]),
    TokenizedExample([*SHARED, 3], [9]),
    TokenizedExample([*SHARED, 4, 5, 6], [10, 11, 12]),
]


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("bfloat16", 0.03)])
def test_loss_and_gradient_are_those_of_eager(dtype: str, tolerance: float) -> None:
    register()
    (packed,), _ = pack(TOKENS, max_tokens=100, share=4)
    found = {}
    for name in ("eager", NAME):
        tiny = model().to(getattr(torch, dtype))
        tiny.set_attn_implementation(name)
        loss = pack_loss(tiny, packed, tiny.dtype)
        loss.backward()
        found[name] = (float(loss), tiny.model.layers[0].self_attn.k_proj.weight.grad.float())
    assert found[NAME][0] == pytest.approx(found["eager"][0], rel=tolerance)
    distance = (found[NAME][1] - found["eager"][1]).norm() / found["eager"][1].norm()
    assert float(distance) < tolerance


def test_text_is_that_of_eager() -> None:
    register()
    prompt = torch.tensor([[5, 9, 13, 21, 34]])
    said = {}
    for name in ("eager", NAME):
        tiny = model().eval()
        tiny.set_attn_implementation(name)
        said[name] = tiny.generate(input_ids=prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=8).tolist()
    assert said[NAME] == said["eager"]
