"""Packs: what is shared, what is seen, where the labels stand."""

from __future__ import annotations

import pytest

from sluice.extras.finetune.packing import TokenizedExample, join, mask, pack

SHARED = list(range(100, 120))


def test_neighbours_with_one_beginning_share_it() -> None:
    examples = [TokenizedExample([*SHARED, 1, 2], [7, 8]), TokenizedExample([*SHARED, 3, 2], [9])]
    packs, skipped = pack(examples, max_tokens=100, share=4)
    assert skipped == 0
    assert len(packs) == 1
    assert packs[0].prefix == SHARED
    assert packs[0].tails == [[1, 2, 7, 8], [3, 2, 9]]
    assert len(packs[0]) == len(SHARED) + 4 + 3


def test_positions_of_each_tail_continue_the_prefix() -> None:
    packs, _ = pack([TokenizedExample([*SHARED, 1], [7]), TokenizedExample([*SHARED, 2], [8])], max_tokens=100, share=4)
    assert packs[0].positions == [*range(20), 20, 21, 20, 21]


def test_labels_stand_one_before_the_answer_and_each_example_weighs_one() -> None:
    packs, _ = pack(
        [TokenizedExample([*SHARED, 1], [7, 8]), TokenizedExample([*SHARED, 2], [9])], max_tokens=100, share=4
    )
    at, expected, weights = packs[0].labels()
    assert expected == [7, 8, 9]
    assert [packs[0].ids[place + 1] for place in at] == expected
    assert weights == [0.5, 0.5, 1.0]


def test_a_tail_sees_the_prefix_and_itself_only() -> None:
    torch = pytest.importorskip("torch")
    packs, _ = pack([TokenizedExample([*SHARED, 1], [7]), TokenizedExample([*SHARED, 2], [8])], max_tokens=100, share=4)
    seen = mask(packs[0], torch.float32)[0, 0] == 0
    second = len(SHARED) + 2
    assert seen[second, : len(SHARED)].all()
    assert not seen[second, len(SHARED) : second].any()
    assert seen[second, second]
    assert not seen[second, second + 1]


@pytest.mark.parametrize(
    ("examples", "share", "packs"),
    [
        ([TokenizedExample([*SHARED, 1], [7])] * 5, 2, 3),
        ([TokenizedExample([1, 2, 3], [7]), TokenizedExample([4, 5, 6], [8])], 4, 2),
    ],
    ids=["at most `share` together", "nothing in common"],
)
def test_when_a_new_pack_is_opened(examples: list[TokenizedExample], share: int, packs: int) -> None:
    assert len(pack(examples, max_tokens=100, share=share)[0]) == packs


def test_long_examples_are_left_out_and_counted() -> None:
    packs, skipped = pack([TokenizedExample([1] * 50, [2]), TokenizedExample([1, 3], [2])], max_tokens=10, share=4)
    assert skipped == 1
    assert sum(len(p.tails) for p in packs) == 1


def test_packs_of_one_question_are_joined_by_what_they_begin_with() -> None:
    said = [[*SHARED, *range(12), 1, 2], [5] * 34, [*SHARED, *range(12), 3, 2], [5, 6]]
    packs, _ = pack([TokenizedExample(prompt, [7, 8]) for prompt in said], max_tokens=100, share=1)
    several = pack([TokenizedExample([9] * 20, [7]), TokenizedExample([9] * 20, [8])], max_tokens=100, share=2)[0]
    joined = join([*packs, *several], 2, max_tokens=100)
    assert joined[0] == several[0]
    assert [(one.prefix, one.tails) for one in joined[1:]] == [
        ([5], [[6, 7, 8], [*[5] * 33, 7, 8]]),
        ([*SHARED, *range(12)], [[1, 2, 7, 8], [3, 2, 7, 8]]),
    ]
    assert sum(len(one.labels()[1]) for one in joined) == 2 + 8


def test_what_would_be_too_long_is_not_joined() -> None:
    packs, _ = pack([TokenizedExample([n] * 40, [7]) for n in (1, 2, 3)], max_tokens=80, share=1)
    assert join(packs, 2, max_tokens=80) == packs
