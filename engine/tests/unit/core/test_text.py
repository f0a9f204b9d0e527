import pytest
from markdown_it import MarkdownIt

from sluice.core.text import table

HOSTILE = [
    "$(touch pwn)",
    "`touch pwn`",
    "``` fence",
    "a | b",
    "line\nbreak\r\n::error::x",
    "##[set-output name=x]y",
    "<img src=x onerror=alert(1)>",
    "[click](https://evil.invalid)",
    "@everyone",
    "\x1b[31mred",
    "\u202eright to left",
    "\udce4 not UTF-8",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_cell_is_one_line_of_code(text: str) -> None:
    shown = table(("what", "why"), [(text, "ours")])
    assert len(shown.splitlines()) == 3
    assert "##[" not in shown
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    shown.encode("utf-8")
    page = MarkdownIt("commonmark", {"html": True}).enable("table").render(shown)
    assert page.count("<td>") == page.count("<td><code>") == 2
    assert "<img" not in page
    assert "<a " not in page
