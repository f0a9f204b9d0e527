from __future__ import annotations

import pytest

from sluice.guardrails.checks.leaks import PersonalDataOptions
from support.guardrails import finder

find = finder("personal_data")

FOUND = {
    "someone@example.org": "email",
    "first.last+tag@mail.example.co.uk": "email",
    "some\u200bone@example．org": "email",
    "+1 555 123 4567": "phone",
    "+33 1 23 45 67 89": "phone",
    "+49 (0)30 1234567": "phone",
    "(555) 234-5678": "phone",
    "555-234-5678": "phone",
    "0171 234 5678": "phone",
    "4111 1111 1111 1111": "card",
    "5555-5555-5555-4444": "card",
    "378282246310005": "card",
    "４１１１１１１１１１１１１１１１": "card",
}
BENIGN = [
    "The image is app@sha256:abc and the package mlflow@2.3.",
    "git@example.com:team/repo.git",
    "Use @property and 5 @ 3.",
    "Version 3.11.12 from 2024-11-24 10:30:05",
    "1700000000000 milliseconds",
    "4111 1111 1111 1112",
    "recall rose by +20 000 000 tokens",
    "0.123456789 and 0.987654321",
    "ports 8080-8090, 10.0.0.1:5432",
    "384 dimensions, 60 documents, 0.25 similarity",
    "53aa" * 8,
    "r-4111111111111111",
    "",
]


@pytest.mark.parametrize(("value", "kind"), FOUND.items())
def test_personal_data_is_found_exactly(value: str, kind: str) -> None:
    text = f"Contact: {value}, thanks."
    assert [(f.reason, text[f.start : f.end]) for f in find(text, PersonalDataOptions())] == [
        (f"personal_data.{kind}", value)
    ]


@pytest.mark.parametrize("text", BENIGN)
def test_look_alikes_pass(text: str) -> None:
    assert find(text, PersonalDataOptions()) == []


def test_only_the_kinds_asked_for_are_found() -> None:
    text = "a@example.org or +1 555 123 4567"
    assert [f.reason for f in find(text, PersonalDataOptions(kinds=("phone",)))] == ["personal_data.phone"]
