from __future__ import annotations

import pytest

from sluice.guardrails.reading import original, plain, skeleton


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
    assert plain(original(text)).text == expected


def test_a_span_of_the_plain_form_leads_back_to_the_original() -> None:
    text = "x ﬁ\u200bn\u200be y"
    seen = plain(original(text))
    start = seen.text.index("fine")
    begin, end = seen.original(start, start + 4)
    assert text[begin:end] == "ﬁ\u200bn\u200be"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Іgnоrе", "Ignore"),
        ("i̸g̸n̸o̸r̸e̸", "ignore"),
        ("ɪɢɴᴏʀᴇ", "ignore"),
        ("🅸🅶🅽🅾🆁🅴", "ignore"),
        ("🇮🇬", "ig"),
        ("naïve", "naive"),
        ("漢字", "漢字"),
    ],
)
def test_the_skeleton_is_what_the_eye_reads(text: str, expected: str) -> None:
    assert skeleton(plain(original(text))).text == expected
