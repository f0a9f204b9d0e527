from __future__ import annotations

import pytest

from sluice.guardrails.text import plain


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain ASCII", "plain ASCII"),
        ("ﬁne", "fine"),
        ("a\u200bb\u2060c\ufeffd\u00ade", "abcde"),
        ("Ａ１", "A1"),
        (chr(0xE0041) + chr(0xE0062), "Ab"),
        ("é stays é", "é stays é"),
        ("\u200b", ""),
    ],
)
def test_the_plain_form(text: str, expected: str) -> None:
    assert plain(text).text == expected


def test_a_span_of_the_plain_form_leads_back_to_the_original() -> None:
    text = "x ﬁ\u200bn\u200be y"
    seen = plain(text)
    start = seen.text.index("fine")
    begin, end = seen.original(start, start + 4)
    assert text[begin:end] == "ﬁ\u200bn\u200be"
