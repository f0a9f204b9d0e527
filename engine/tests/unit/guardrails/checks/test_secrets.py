"""Every credential is put together from parts, so that no scanner takes this file for a leak."""

from __future__ import annotations

import string

import pytest

from sluice.guardrails.check import NoOptions as Options
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
