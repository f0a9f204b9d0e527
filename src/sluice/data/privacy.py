"""Personal data and secrets in texts that are about to be published, indexed and trained on.

Secrets are found by the plugins of detect-secrets that know a key's exact form (no entropy guesses, no look-up over the
network). Personal data is found by form and, where the form has one, by checksum: card numbers (Luhn), IBANs
(ISO 7064 mod 97). A finding is masked, so that a report can be shown in a pull request.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module

_SECRET_PLUGINS = {
    "artifactory": "ArtifactoryDetector",
    "aws": "AWSKeyDetector",
    "azure_storage_key": "AzureStorageKeyDetector",
    "basic_auth": "BasicAuthDetector",
    "discord": "DiscordBotTokenDetector",
    "github_token": "GitHubTokenDetector",
    "gitlab_token": "GitLabTokenDetector",
    "jwt": "JwtTokenDetector",
    "mailchimp": "MailchimpDetector",
    "npm": "NpmDetector",
    "openai": "OpenAIDetector",
    "private_key": "PrivateKeyDetector",
    "pypi_token": "PypiTokenDetector",
    "sendgrid": "SendGridDetector",
    "slack": "SlackDetector",
    "square_oauth": "SquareOAuthDetector",
    "stripe": "StripeDetector",
    "telegram_token": "TelegramBotTokenDetector",
    "twilio": "TwilioKeyDetector",
}
# Every form above has a run of a dozen characters with a digit, a separator or a capital inside, or is a PEM header.
# Most lines of prose have neither, and are not shown to the plugins.
_MAY_HOLD_SECRET = re.compile(r"BEGIN [A-Z ]*PRIVATE KEY|(?=\S*(?:[\d:_=]|\S[A-Z]))\S{12,}")

_EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]+@(?:[\w-]+\.)+[^\W\d_]{2,}(?![\w-])")
# RFC 2606: names that belong to nobody.
_NOBODY = re.compile(r"@(?:[\w-]+\.)*(?:example(?:\.(?:com|net|org))?|test|invalid|localhost)$", re.IGNORECASE)
_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?![A-Za-z0-9])")
_CARD = re.compile(r"(?<![\d.,-])\d(?:[ -]?\d){12,18}(?![\d-]|[.,]\d)")
_PHONE = re.compile(
    r"(?<![\w+.])(?:"
    r"(?:\+|00)[1-9]\d{0,2}(?:[ .-]?\(?\d{1,5}\)?){2,6}"  # international
    r"|\(\d{2,5}\)[ ]?\d{3,4}[ .-]\d{3,4}"  # (area) 555 0100
    r"|\d{3}([ .-])\d{3}\1\d{4}"  # North America
    r")(?![\w-]|[.,]\d)"
)


def findings(text: str) -> Iterator[tuple[int, str]]:
    """(line, what) for each piece of personal data or secret in `text`; lines count from 1."""
    for number, line in enumerate(text.split("\n"), 1):
        for what in _secrets(line):
            yield number, what
        for what in _personal(line):
            yield number, what


def _secrets(line: str) -> Iterator[str]:
    if _MAY_HOLD_SECRET.search(line):
        for name, find in _secret_plugins():
            for secret in find(line):
                yield f"secret: {name} {mask(str(secret))}"


@cache
def _secret_plugins() -> tuple[tuple[str, Callable[[str], Iterator[str]]], ...]:
    plugins = (
        getattr(import_module(f"detect_secrets.plugins.{module}"), name)() for module, name in _SECRET_PLUGINS.items()
    )
    return tuple((plugin.secret_type, plugin.analyze_string) for plugin in plugins)


def _personal(line: str) -> Iterator[str]:
    for match in _EMAIL.finditer(line):
        if not _NOBODY.search(match[0]):
            yield f"personal data: e-mail address {mask(match[0])}"
    ibans = [match for match in _IBAN.finditer(line) if valid_iban(match[0])]
    for match in ibans:
        yield f"personal data: IBAN {mask(match[0])}"
    cards = [match for match in _CARD.finditer(line) if valid_card(match[0])]
    for match in cards:
        yield f"personal data: card number {mask(match[0])}"
    told = [match.span() for match in (*ibans, *cards)]
    for match in _PHONE.finditer(line):
        inside = any(start <= match.start() < end for start, end in told)
        if not inside and 8 <= sum(c.isdigit() for c in match[0]) <= 15:
            yield f"personal data: telephone number {mask(match[0])}"


def mask(secret: str) -> str:
    """The first two characters and the length: enough to find it, too little to use it."""
    return f"{secret[:2]}… ({len(secret)} characters)"


def valid_card(number: str) -> bool:
    """13 to 19 digits of a card network's range (first digit 2 to 6) with a right Luhn checksum."""
    digits = [int(c) for c in number if c.isdigit()]
    if not 13 <= len(digits) <= 19 or not 2 <= digits[0] <= 6 or len(set(digits)) == 1:
        return False
    doubled = (sum(divmod(2 * digit, 10)) for digit in digits[-2::-2])
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def valid_iban(number: str) -> bool:
    """15 to 34 characters whose ISO 7064 remainder is 1."""
    compact = number.replace(" ", "")
    if not 15 <= len(compact) <= 34:
        return False
    return int("".join(str(int(c, 36)) for c in compact[4:] + compact[:4])) % 97 == 1
