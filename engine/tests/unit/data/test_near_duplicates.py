import random
import re

from sluice.data.near_duplicates import repeats_across, repeats_within, words
from sluice.data.rows import Row


def row(question: str, *answers: str) -> Row:
    return Row(id="x", question=question, answers=answers, doc_ids=())


def test_words_ignore_case_punctuation_and_width() -> None:
    assert words("Ｗhat's the RANK, of LoRA?") == ["what", "s", "the", "rank", "of", "lora"]
    assert words("何が 起きる") == ["何", "が", "起", "き", "る"]


def test_near_words_repeat_when_an_answer_is_shared_or_both_decline_and_the_same_words_always() -> None:
    assert repeats_within([row("Who won?", "A"), row("who  won", "B")]) == {1: 0}
    near = ("Who sang the anthem at the final match?", "Who sang the anthem at the last final match?")
    assert repeats_within([row(near[0], "A choir"), row(near[1], "a choir")]) == {1: 0}
    assert repeats_within([row(near[0]), row(near[1])]) == {1: 0}
    assert repeats_within([row(near[0], "A choir"), row(near[1], "B")]) == {}
    assert repeats_across([row(near[0], "A choir")], [row(near[1], "B")]) == {0: 0}


def test_another_number_is_another_question() -> None:
    years = [f"Who won the national cup in the season of {year}?" for year in (1990, 1991)]
    assert repeats_across([row(years[0])], [row(years[1])]) == {}


def test_the_search_finds_what_comparing_every_pair_finds() -> None:
    draw = random.Random(7)
    vocabulary = re.findall(r"\w+", "the tide dune pier of which how many turns sand oak buoy 20 50")
    for _ in range(20):
        texts = [" ".join(draw.choices(vocabulary, k=draw.randint(1, 13))) for _ in range(120)]
        base, probe = texts[:60], texts[60:]
        wanted = {n for n, one in enumerate(probe) if any(_near(one, other) for other in base)}
        found = repeats_across([row(text) for text in base], [row(text) for text in probe])
        assert set(found) == wanted
        assert all(_near(probe[n], base[m]) for n, m in found.items())


def _near(one: str, other: str) -> bool:
    a, b = set(words(one)), set(words(other))
    digits = [{word for word in bag if word.isdigit()} for bag in (a, b)]
    return digits[0] == digits[1] and 10 * len(a & b) >= 8 * len(a | b)
