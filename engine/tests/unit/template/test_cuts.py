"""Parts are cut out of YAML as it was written, and nothing else changes."""

from __future__ import annotations

import pytest

from sluice.template.cuts import cut

TEXT = """\
# the file
jobs:
  first:
    needs: []

  # why there is a second
  second:
    needs: [first, third]   # both
    steps:
      - run: one
      # two is told here
      - name: two
        run: |
          a
          b

      - run: three
    # belongs to steps
# the end
list:
  a: 1          # one
                # and more of it
  b: [x]
"""


@pytest.mark.parametrize(
    ("steps", "gone"),
    [
        ("jobs > first", ["  first:", "    needs: []", ""]),
        ("jobs > second > steps > name=two", ["      # two is told here", "      - name: two", "        run: |"]),
        ("jobs > second > steps > run=three", ["      - run: three"]),
        ("list > b", ["  b: [x]"]),
        ("list", ["# the end", "list:", "  a: 1          # one", "                # and more of it", "  b: [x]"]),
    ],
)
def test_a_part_goes_with_the_comment_above_it(steps: str, gone: list[str]) -> None:
    left = cut(TEXT, steps).splitlines()
    expected = TEXT.splitlines()
    position = next(n for n in range(len(expected)) if expected[n : n + len(gone)] == gone)
    taken = len(expected) - len(left)
    assert expected[:position] + expected[position + taken :] == left
    assert taken >= len(gone)


def test_an_entry_of_a_list_in_one_line() -> None:
    assert "    needs: [first]   # both\n" in cut(TEXT, "jobs > second > needs > =third")


def test_all_that_match_are_cut() -> None:
    text = "gates:\n  - name: a\n    stage: x\n  - name: b\n    stage: y\n  - name: c\n    stage: x\n"
    assert cut(text, "gates > stage=x") == "gates:\n  - name: b\n    stage: y\n"


@pytest.mark.parametrize("steps", ["jobs > none", "none > first", "jobs > second > steps > run=four", "list > a > b"])
def test_what_is_not_there_is_not_cut(steps: str) -> None:
    assert cut(TEXT, steps) == TEXT
