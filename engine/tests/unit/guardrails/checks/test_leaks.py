"""Credentials are put together from parts, so that no scanner takes this file for a leak."""

import base64
import codecs
import string

import pytest

from sluice.guardrails.check import CheckResources
from sluice.guardrails.check import NoOptions as Options
from sluice.guardrails.checks.leaks import PersonalDataOptions
from support.guardrails import finder

find = finder("secrets")

LETTERS = string.ascii_letters[13:39] + string.digits + "ab"
PEM = "-----BEGIN RSA " + "PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nMIIEow+/AB==\n-----END RSA " + "PRIVATE KEY-----"
SECRETS = {
    "AKIA" + "IOSFODNN7ABCDEFG": "api_key",
    "sk-" + LETTERS: "api_key",
    "sk-proj-" + LETTERS: "api_key",
    "ghp_" + LETTERS[:36]: "api_key",
    "glpat-" + LETTERS[:20]: "api_key",
    "hf_" + LETTERS[:34]: "api_key",
    "xoxb-" + "1234567890-abcdef": "api_key",
    "eyJ" + "hbGciOiJI.eyJ" + "zdWIiOiIx.c2lnbmF0dXJl": "token",
    PEM: "private_key",
}
SPELT_OUT = {
    "password: " + "hunter2!": "hunter2!",
    "The password is " + "Tr0ub4dor&3.": "Tr0ub4dor&3",
    'api_key = "' + "9f8e" * 3 + '"': "9f8e" * 3,
    "Authorization: Bearer " + "abc123" * 2: "abc123" * 2,
    "postgresql://app:" + "s3cretpw@db.internal/x": "s3cretpw",
    "pass\u200bword: " + "hun\u200bter22": "hun\u200bter22",
}
BENIGN = [
    "The password is required before the first deploy.",
    "Set api_key: <your-key> in the file.",
    "password: ${DB_PASSWORD1}",
    "token: 2048",
    "secret = os.environ['KEY1']",
    "The sha256 is " + "53aa" * 16 + ".",
    "A task-based-and-very-long-kebab-name-1 is fine.",
    "sk-learn is short for scikit-learn",
    "An access token expires after 15 minutes.",
    "See https://example.org/a:b@c",
    "",
]


@pytest.mark.parametrize(("secret", "kind"), SECRETS.items())
def test_credentials_are_found_exactly(secret: str, kind: str) -> None:
    text = f"Use {secret} for this."
    assert [(f.reason, text[f.start : f.end].strip()) for f in find(text, Options())] == [(f"secrets.{kind}", secret)]


@pytest.mark.parametrize(("text", "value"), SPELT_OUT.items())
def test_of_a_spelt_out_password_only_the_value_is_found(text: str, value: str) -> None:
    assert [(f.reason, text[f.start : f.end]) for f in find(text, Options())] == [("secrets.password", value)]


@pytest.mark.parametrize("text", BENIGN)
def test_look_alikes_pass(text: str) -> None:
    assert find(text, Options()) == []


def test_a_private_key_without_its_last_line_is_found_whole() -> None:
    text = PEM[: PEM.index("-----END")]
    assert [(f.start, f.end) for f in find(text, Options())] == [(0, len(text))]


find_personal = finder("personal_data")

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
IMPERSONAL = [
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
    assert [(f.reason, text[f.start : f.end]) for f in find_personal(text, PersonalDataOptions())] == [
        (f"personal_data.{kind}", value)
    ]


@pytest.mark.parametrize("text", IMPERSONAL)
def test_what_is_nobody_s_passes(text: str) -> None:
    assert find_personal(text, PersonalDataOptions()) == []


def test_only_the_kinds_asked_for_are_found() -> None:
    text = "a@example.org or +1 555 123 4567"
    assert [f.reason for f in find_personal(text, PersonalDataOptions(kinds=("phone",)))] == ["personal_data.phone"]


SYSTEM = (
    "You answer questions about running LLM applications. Copy the shortest span of the passages. "
    "The code is orchid seven. If the passages do not answer it, say exactly: {{decline}}"
)
find_instructions = finder("prompt_leak", CheckResources(instructions=(SYSTEM,)))
SPOKEN = SYSTEM.replace("{{decline}}", "The handbook does not say.")
WRITINGS = {
    "plain": SPOKEN,
    "capitals": SPOKEN.upper(),
    "base64": base64.b64encode(SPOKEN.encode()).decode(),
    "rot13": codecs.encode(SPOKEN, "rot13"),
    "reversed": SPOKEN[::-1],
    "dashes": SPOKEN.replace(" ", "-"),
    "a list": SPOKEN.replace(". ", ".\n- "),
    "one sentence": "My rules: the CODE is Orchid seven",
}


@pytest.mark.parametrize("text", WRITINGS.values(), ids=list(WRITINGS))
def test_the_instructions_are_found_in_every_writing(text: str) -> None:
    assert {found.reason for found in find_instructions(text)} == {"prompt_leak.instructions"}


@pytest.mark.parametrize(
    "text",
    ["The handbook does not say.", "Copy the passages.", "the shortest span", "Applications answer questions.", ""],
)
def test_what_is_no_run_of_them_passes(text: str) -> None:
    assert find_instructions(text) == []


def test_without_instructions_nothing_leaks() -> None:
    assert finder("prompt_leak")(SPOKEN) == []
