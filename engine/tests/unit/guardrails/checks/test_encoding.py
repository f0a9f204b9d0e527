from __future__ import annotations

import base64

import pytest

from sluice.guardrails.checks.attacks import EncodingOptions
from support.guardrails import finder

find = finder("encoding")
ABUSED = {
    "nested": base64.b64encode(base64.b64encode(b"an honest text of some length")).decode(),
    "invisible": "a\u200bb\u200bc\u200bd\u200be",
    "tags": "hello " + "".join(chr(0xE0000 + ord(c)) for c in "there"),
    "direction": "hello \u202eereht",
    "marks": "e" + "\u0301" * 12,
    "unreadable": "a" * 20_000,
}
HONEST = [
    "What is a canary?",
    "naïve café",
    "👩‍👩‍👧 and 🏴" + "".join(chr(0xE0000 + ord(c)) for c in "gbsct") + chr(0xE007F),
    "می‌خواهم",
    "decode SGVsbG8gdGhlcmUsIGZyaWVuZA== please",
    "tiếng Việt",
]


@pytest.mark.parametrize(("kind", "text"), ABUSED.items())
def test_abuse_is_found_with_its_kind(kind: str, text: str) -> None:
    assert f"encoding.{kind}" in {found.reason for found in find(text)}


@pytest.mark.parametrize("text", HONEST)
def test_honest_texts_pass(text: str) -> None:
    assert find(text) == []


def test_the_limits_are_options() -> None:
    text = base64.b64encode(b"an honest text of some length").decode()
    assert find(text) == []
    assert [found.reason for found in find(text, EncodingOptions(max_nesting=0))] == ["encoding.nested"]
