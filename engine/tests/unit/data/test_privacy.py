"""Secrets are put together from parts, so that no scanner takes this file for a leak."""

from pathlib import Path

import pytest

from sluice.core.errors import ValidationErrors
from sluice.data.privacy import KINDS, DataPolicy, PrivacyPolicy, findings, load_policy, mask, redact

AWS = "AKIA" + "QWERTYUIOPASDFGH"
GITHUB = "ghp_" + "aB3dE5fG7hJ9kL1mN3pQ5rS7tU9vW1xY3zA5"
PEM = "-----BEGIN RSA PRIVATE" + " KEY-----"
MAIL = "first.last@" + "company.org"
BASIC = "postgres" + "://admin:" + "hunter2x@db.internal/app"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("Write to first.last@" + "company.org today.", "e-mail address"),
        ("Her card is 4111 1111 1111 1111.", "card number"),
        ("Pay to GB82 WEST 1234 5698 7654 32, please.", "IBAN"),
        ("Call +44 20 7946 0958 now", "telephone number"),
        ("Call 212-555-0199.", "telephone number"),
        ("SSN 078-05-1121 of the man", "national id"),
        ("AHV 756.9217.0769.85", "national id"),
        (f"key {AWS} leaked", "AWS Access Key"),
        (f"token={GITHUB}", "GitHub Token"),
        (PEM, "Private Key"),
        (BASIC, "Basic Auth"),
    ],
)
def test_it_finds(text: str, what: str) -> None:
    found = list(findings(f"Nothing here.\n{text}"))
    assert {line for line, _ in found} == {2}, found
    assert what in found[0][1]


@pytest.mark.parametrize(
    "text",
    [
        "Write to someone@example.org or root@localhost.",
        "In 1998 and 2004-2008 the figures were 1,000, 2,000 and 500,000.",
        "Version 1.2.3.4567 of 2024-11-24 12:30:59 took 10 000 000 000 steps.",
        "The order 4111 1111 1111 1112 has a wrong checksum; so has GB82 WEST 1234 5698 7654 33.",
        "The digest is 6544213b87e5022af7d5e63a37fa7ff1 and the rate 2e-5.",
        "Set maintenance_work_mem, use handles like @retriever and a password that nobody guesses.",
        "Ask http://169.254.169.254/latest and 192.168.100.100.",
        "Pages 100 200 300 hold 0.123456789012345 and 3.14159265358979323846.",
    ],
)
def test_it_leaves_alone(text: str) -> None:
    assert list(findings(text)) == []


def test_a_finding_does_not_repeat_what_it_found() -> None:
    told = " ".join(what for _, what in findings(f"{AWS} 4111 1111 1111 1111"))
    assert AWS not in told
    assert "4111 1111" not in told
    assert mask("abcdef") == "ab… (6 characters)"


def test_what_the_policy_allows_is_not_found() -> None:
    text = f"{MAIL} and 4111 1111 1111 1111, or {AWS}"
    lax = PrivacyPolicy.model_validate(dict.fromkeys(KINDS, "allow"))
    assert [what.partition(":")[0] for _, what in findings(text, lax)] == ["secret"]


def test_what_is_redacted_is_replaced_and_what_is_refused_stays() -> None:
    text = f"Ask {MAIL}\nor +44 20 7946 0958; pay 4111 1111 1111 1111. {AWS}"
    strict = PrivacyPolicy(card="refuse")
    clean = redact(text, strict)
    assert clean == f"Ask [e-mail address]\nor [telephone number]; pay 4111 1111 1111 1111. {AWS}"
    assert [line for line, _ in findings(clean, strict)] == [2, 2]
    assert redact(clean, strict) == clean


def test_regions_say_whose_numbers_are_known_without_a_country_code() -> None:
    text = "Call 030 901820 today."
    assert list(findings(text, PrivacyPolicy(phone_regions=()))) == []
    assert [what for _, what in findings(text, PrivacyPolicy(phone_regions=("DE",)))]
    assert list(findings("Call +49 30 901820.", PrivacyPolicy(phone_regions=())))


CONFIG = Path(__file__).parents[4] / "config"


def test_the_file_of_the_repository_says_every_key() -> None:
    loaded = load_policy(CONFIG)
    assert loaded == DataPolicy()
    assert loaded.model_fields_set == set(DataPolicy.model_fields)
    assert loaded.privacy.model_fields_set == set(PrivacyPolicy.model_fields)


def test_a_wrong_key_is_told_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text("privacy:\n  emails: allow\n  phone: hide\n")
    with pytest.raises(ValidationErrors) as raised:
        load_policy(tmp_path)
    told = str(raised.value)
    assert "data.yaml:2: privacy.emails: unknown key (did you mean 'email'?)" in told
    assert "data.yaml:3: privacy.phone" in told
