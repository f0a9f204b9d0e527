"""Packs examples into sequences: a shared prompt prefix is computed once, each question after it separately.

A question sees the shared beginning and itself, never its neighbours, and its positions count on from the beginning.
So the loss of a pack is exactly the sum of the losses of its examples, at a fraction of the tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_WORTH_SHARING = 0.5  # of an example: a shorter common beginning (the system message alone) opens a new pack
_BEGINNING = 32  # tokens, by which packs are put together: so far into a system message instructions differ
# Tokens of an answer beyond which none weighs less: a copied sentence is decided by its first words, the rest follow.
_WHOLE = 8


@dataclass(frozen=True)
class TokenizedExample:
    """One example: `prompt` ids, then `answer` ids up to and including the end of the turn."""

    prompt: list[int]
    answer: list[int]

    @property
    def ids(self) -> list[int]:
        return self.prompt + self.answer


@dataclass(frozen=True)
class Pack:
    """A sequence of `prefix` and then each of `tails`. An answer token's label stands at the position before it."""

    prefix: list[int]
    tails: list[list[int]]
    answers: list[int]  # tokens of each tail, from its end, that are answer

    def __len__(self) -> int:
        return len(self.prefix) + sum(map(len, self.tails))

    @property
    def plain_tokens(self) -> int:
        """What its examples count one by one, each with the beginning of its own that a plain loop computes."""
        return len(self.tails) * len(self.prefix) + sum(map(len, self.tails))

    @property
    def ids(self) -> list[int]:
        return self.prefix + [token for tail in self.tails for token in tail]

    @property
    def positions(self) -> list[int]:
        start = len(self.prefix)
        return [*range(start), *(start + offset for tail in self.tails for offset in range(len(tail)))]

    @property
    def segments(self) -> list[int]:
        """0 for the prefix, 1, 2, … for the tails: a token sees its own segment and segment 0, backwards only."""
        return [0] * len(self.prefix) + [number for number, tail in enumerate(self.tails, 1) for _ in tail]

    def labels(self) -> tuple[list[int], list[int], list[float]]:
        """Where logits are needed, the token expected there, and its weight: an example of up to `_WHOLE` answer tokens
        weighs 1 in all."""
        at: list[int] = []
        expected: list[int] = []
        weights: list[float] = []
        end = len(self.prefix)
        for tail, length in zip(self.tails, self.answers, strict=True):
            end += len(tail)
            at += range(end - length - 1, end - 1)
            expected += tail[-length:]
            weights += [1.0 / min(length, _WHOLE)] * length
        return at, expected, weights


def pack(examples: Sequence[TokenizedExample], *, max_tokens: int, share: int) -> tuple[list[Pack], int]:
    """Packs of up to `share` neighbouring examples, and how many were longer than `max_tokens` and left out."""
    packs: list[Pack] = []
    open_: list[TokenizedExample] = []
    common = skipped = 0
    for example in examples:
        if len(example.ids) > max_tokens:
            skipped += 1
            continue
        if open_:
            joint = min(common, _common(open_[0].prompt[:-1], example.prompt[:-1]))
            size = joint + sum(len(e.ids) - joint for e in [*open_, example])
            if len(open_) < share and joint >= _WORTH_SHARING * len(example.ids) and size <= max_tokens:
                open_.append(example)
                common = joint
                continue
            packs.append(_close(open_, common))
        # The last token of a prompt stays in the tail: it is where the first answer token is predicted.
        open_, common = [example], len(example.prompt) - 1
    if open_:
        packs.append(_close(open_, common))
    return packs, skipped


def join(packs: Sequence[Pack], count: int, *, max_tokens: int) -> list[Pack]:
    """Packs of one example each, `count` to a sequence, beside those that begin alike, whose system message they share.
    Others stay as they are, and what would be longer than `max_tokens`."""
    alone = sorted((one for one in packs if len(one.tails) == 1), key=lambda one: one.prefix[:_BEGINNING])
    joined = [one for one in packs if len(one.tails) > 1]
    for start in range(0, len(alone), count):
        some = alone[start : start + count]
        common = _common(*(one.prefix for one in some))
        tails = [[*one.prefix[common:], *one.tails[0]] for one in some]
        whole = Pack(some[0].prefix[:common], tails, [one.answers[0] for one in some])
        joined += [whole] if len(whole) <= max_tokens else some
    return joined


def _close(examples: list[TokenizedExample], common: int) -> Pack:
    return Pack(
        examples[0].ids[:common],
        [example.ids[common:] for example in examples],
        [len(example.answer) for example in examples],
    )


def _common(*rows: list[int]) -> int:
    """Length of the common beginning."""
    return next((n for n, column in enumerate(zip(*rows, strict=False)) if len(set(column)) > 1), min(map(len, rows)))


def mask(pack_: Pack, dtype: Any) -> Any:
    """Additive attention mask, shape (1, 1, tokens, tokens): 0 where a token may look, the lowest number elsewhere."""
    import torch

    segment = torch.tensor(pack_.segments)
    sees = (segment[:, None] == segment[None, :]) | (segment[None, :] == 0)
    hidden = torch.zeros(len(pack_), len(pack_), dtype=dtype).masked_fill(~sees.tril(), torch.finfo(dtype).min)
    return hidden[None, None]


def pack_loss(model: Any, item: Pack, dtype: Any, device: str = "cpu") -> Any:
    """Summed loss of the examples of a pack, each example weighing one."""
    import torch

    at, expected, shares = item.labels()
    logits = model(
        input_ids=torch.tensor([item.ids], device=device),
        position_ids=torch.tensor([item.positions], device=device),
        attention_mask=mask(item, dtype).to(device),
        logits_to_keep=torch.tensor(at, device=device),
        use_cache=False,
    ).logits[0]
    losses = torch.nn.functional.cross_entropy(logits.float(), torch.tensor(expected, device=device), reduction="none")
    return (losses * torch.tensor(shares, device=device)).sum()
