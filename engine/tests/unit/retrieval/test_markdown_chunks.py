import random
import statistics

import pytest

from sluice.data.rows import Document
from sluice.retrieval.index_files import Chunk, ChunkerSettings, chunk, starts
from sluice.retrieval.markdown_chunks import size_of, statements, title_of

PAGE = """# Timeouts

The client times out after five seconds.

## Setting and disabling

Set one for a request:

```python
# Using the top-level API:
client.get(url, timeout=10.0)

client.get(url, timeout=None)
```

## Limits

The pool has these limits:

- `max_keepalive`, number of idle connections. (Default 20)
- `max_connections`, number of all connections.
  None is no limit. (Default 100)

| option | default |
|---|---|
| connect | 5.0 |
| read | 5.0 |
"""


def cut(text: str, limit: int, title: str = "Timeouts") -> list[Chunk]:
    document = Document(id="d", title=title, licence="CC0-1.0", source="tests", text=text)
    return chunk([document], ChunkerSettings(name="structure", max_words=limit))


def test_blocks_stay_whole_with_what_introduces_them_and_the_headings_above() -> None:
    first, limits, table = cut(PAGE, 40)
    assert first.text.startswith("# Timeouts\n\nThe client")
    assert first.text.endswith("Set one for a request:\n\n" + PAGE[PAGE.index("```") : PAGE.index("\n\n## Limits")])
    assert limits.text == PAGE[PAGE.index("## Limits") : PAGE.index("\n\n| option")]
    assert table.text == PAGE[PAGE.index("| option") :].strip()
    assert [one.title for one in (first, limits, table)] == ["Timeouts", "Timeouts", "Timeouts › Limits"]
    assert len(cut(PAGE, 400)) == 1


def test_what_is_longer_than_it_may_be_is_cut_between_items_rows_and_lines() -> None:
    items = [f"- item {number} says one thing. And then another, number {number}.\n" for number in range(30)]
    rows = ["| a | b |\n", "|---|---|\n", *(f"| {number} | {number} |\n" for number in range(60))]
    code = ["```sh\n", *(f"run --number {number} --fast\n" for number in range(60)), "```\n"]
    for lines in (items, rows, code):
        found = cut(f"# Long\n\nIntroduced:\n\n{''.join(lines)}", 50, "Long")
        assert len(found) > 3
        assert {line.strip() for one in found for line in one.text.splitlines()} >= {line.strip() for line in lines}
        assert all(one.title == "Long" for one in found)
    assert "|---|---|\n| 0 | 0 |" in cut("".join(rows), 50)[0].text, "a head has a row below it"


def test_a_heading_is_no_chunk_and_small_sections_are_joined() -> None:
    page = "# A\n\n## B\n\n### C\n\nOne.\n\n" + "## D\n\nTwo words.\n\n" * 9 + "## E\n\n" + "word " * 60 + "\n\n## F\n"
    found = cut(page, 60, "A")
    assert all(size_of(one.text) >= 20 for one in found)
    assert found[0].text.startswith("# A\n\n## B\n\n### C\n\nOne.\n\n## D")
    assert found[-1].text.endswith("## F")


def test_what_is_stated_is_never_half_an_item_or_half_a_line_of_code() -> None:
    code = PAGE[PAGE.index("Set one") : PAGE.index("\n\n## Limits")]
    items = PAGE[PAGE.index("The pool") : PAGE.index("\n\n| option")]
    rows = PAGE[PAGE.index("| option") :].strip()
    found = statements(PAGE)
    assert [stated for _, stated in found] == ["The client times out after five seconds.", code, items, rows]
    assert all(PAGE[at:].startswith(stated) for at, stated in found), "where it stands"
    long = "".join(f"- item {number} says one thing. And then another.\n" for number in range(20))
    assert [stated for _, stated in statements(f"# A\n\n{long}")] == long.splitlines()
    assert statements("# A\n\nOne that\ngoes on. Two.\n") == ((5, "One that goes on."), (23, "Two."))
    assert statements("One. Two, e.g. three.") == ((0, "One."), (5, "Two, e.g. three."))


def random_page(dice: random.Random) -> str:
    def words(most: int) -> str:
        return " ".join(f"w{dice.randint(1, 99)}" for _ in range(dice.randint(1, most))) + "."

    kinds = (
        lambda: f"{'#' * dice.randint(1, 4)} {words(5)}",
        lambda: "\n".join(words(40) for _ in range(dice.randint(1, 9))),
        lambda: "\n".join(f"{'  ' * dice.randint(0, 2)}- {words(20)}" for _ in range(dice.randint(1, 20))),
        lambda: "```\n" + "\n\n".join(f"# {words(9)}\nx = {n}" for n in range(dice.randint(1, 20))) + "\n```",
        lambda: "| a | b |\n|---|---|\n" + "\n".join(f"| {words(3)} | 1 |" for _ in range(dice.randint(1, 40))),
        lambda: f"> {words(30)}\n\n[ref]: https://example.org\n",
        lambda: "<div>\nx\n</div>",
    )
    return "\n\n".join(dice.choice(kinds)() for _ in range(dice.randint(1, 30)))


def test_nothing_is_lost_or_twice_and_sizes_are_bounded() -> None:
    dice, sizes = random.Random(7), []
    for _ in range(300):
        text, limit = random_page(dice), dice.randint(60, 250)
        found = cut(text, limit)
        assert " ".join(" ".join(one.text for one in found).split()) == " ".join(text.split())
        assert all(text[at:].startswith(one.text) for at, one in zip(starts(found), found, strict=True))
        assert all(size_of(one.text) <= 3 * limit for one in found)
        assert len(found) == 1 or all(size_of(one.text) >= limit / 3 for one in found)
        sizes += [size_of(one.text) / limit for one in found]
    assert 0.5 < statistics.median(sizes) < 1
    assert cut(" \n ", 100) == []


@pytest.mark.parametrize(
    ("text", "title"),
    [
        (PAGE, "Timeouts"),
        ("```\n# Not this\n```\n\n## Nor this\n\n# This `one` *here*\n", "This one here"),
        ("Setext\n======\n", "Setext"),
        ("## Second\n\ntext\n", "Second"),
        ("text\n", ""),
    ],
)
def test_a_title_is_a_heading_outside_of_code(text: str, title: str) -> None:
    assert title_of(text) == title
