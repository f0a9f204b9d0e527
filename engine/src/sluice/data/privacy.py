"""Personal data and secrets: config/data.yaml, and how they are found before a text is published or trained on.

bc-detect-secrets finds keys by their exact form (no entropy guesses, no look-up over the network), phonenumbers finds
telephone numbers, python-stdnum verifies checksums. Findings are masked, so that a pull request can show a report."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from ipaddress import AddressValueError, IPv4Address
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import Field

from sluice.core.settings import Settings, load_settings

Action = Literal["refuse", "redact", "allow"]
Kind = Literal["email", "phone", "card", "iban", "national_id"]
KINDS: tuple[Kind, ...] = get_args(Kind)


class DocumentPolicy(Settings):
    max_kib: int = Field(default=512, ge=1)

    @property
    def max_bytes(self) -> int:
        return self.max_kib << 10


class PrivacyPolicy(Settings):
    """The action for each kind of personal data; secrets are always refused. `phone_regions`: countries (ISO 3166)
    whose numbers are known without a country code. `allow`: texts that only look like personal data or a secret."""

    email: Action = "redact"
    phone: Action = "redact"
    card: Action = "redact"
    iban: Action = "redact"
    national_id: Action = "redact"
    phone_regions: tuple[str, ...] = ("US", "GB", "DE", "FR")
    allow: tuple[Annotated[str, Field(min_length=4)], ...] = ()

    def action(self, kind: Kind | Literal["secret"]) -> Action:
        found: Action = "refuse" if kind == "secret" else getattr(self, kind)
        return found


class DataPolicy(Settings):
    documents: DocumentPolicy = DocumentPolicy()
    privacy: PrivacyPolicy = PrivacyPolicy()


def load_policy(config: Path) -> DataPolicy:
    return load_settings(config / "data.yaml", DataPolicy)


# Modules of detect_secrets.plugins that guess by entropy or by the words beside a value, and one for addresses.
_GUESSES = frozenset(
    ("high_entropy_strings", "keyword", "ip_public", "cloudant", "ibm_cloud_iam", "ibm_cos_hmac", "softlayer")
)
# Every form that the others know has a run of a dozen characters with a digit, a separator or a capital inside.
# Most lines of prose have none, and are not shown to the plugins.
_PEM = re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY")  # the plugin wants its body in the same line
_MAY_HOLD_SECRET = re.compile(r"(?<!\S)(?=\S*(?:[\d:_=]|\S[A-Z]))\S{12,}")

_EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]+@(?:[\w-]+\.)+[^\W\d_]{2,}(?![\w-])")
# RFC 2606: reserved names.
_NOBODY = re.compile(r"@(?:[\w-]+\.)*(?:example(?:\.(?:com|net|org))?|test|invalid|localhost)$", re.IGNORECASE)
_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?![A-Za-z0-9])")
# First digits of the card networks; a time in milliseconds starts with 1 and is therefore none.
_CARD = re.compile(r"(?<![\d.,-])[2-6](?:[ -]?\d){12,18}(?![\d-]|[.,]\d)")
# Forms that little else has, by the module of python-stdnum that knows the number behind it.
_NATIONAL_IDS = {
    "us.ssn": re.compile(r"(?<![\w-])\d{3}-\d{2}-\d{4}(?![\w-])"),
    "es.dni": re.compile(r"(?<!\w)\d{8}-?[A-Z](?!\w)"),
    "es.nie": re.compile(r"(?<!\w)[XYZ]-?\d{7}-?[A-Z](?!\w)"),
    "it.codicefiscale": re.compile(r"(?<!\w)[A-Z]{6}\d{2}[A-Z]\d{2}[A-Z]\d{3}[A-Z](?!\w)"),
    "fr.nir": re.compile(r"(?<!\w)[12] ?\d{2} ?\d{2} ?\d[\dAB] ?\d{3} ?\d{3} ?\d{2}(?!\w)"),
    "ch.ssn": re.compile(r"(?<!\w)756\.\d{4}\.\d{4}\.\d{2}(?!\w)"),
    "fi.hetu": re.compile(r"(?<!\w)\d{6}[-+A]\d{3}[0-9A-Y](?!\w)"),
    "br.cpf": re.compile(r"(?<!\w)\d{3}\.\d{3}\.\d{3}-\d{2}(?!\w)"),
}
# Some countries have shorter ones, and every year and every price would be one of them.
_FEWEST_DIGITS = 8
_MAY_BE_PHONE = re.compile(r"(?:\d[^\w\n]{0,3}){7}\d")

_NAMES: dict[Kind, str] = {
    "email": "e-mail address",
    "iban": "IBAN",
    "card": "card number",
    "national_id": "national id",
    "phone": "telephone number",
}


@dataclass(frozen=True)
class PersonalDataMatch:
    """A finding at these characters of a text. `name`: of its kind, for people."""

    kind: Kind | Literal["secret"]
    name: str
    start: int
    end: int


def findings(text: str, policy: PrivacyPolicy = PrivacyPolicy()) -> Iterator[tuple[int, str]]:
    """Yield the lines of personal data and secrets that a policy doesn't allow, and descriptions."""
    for found in scan(text, policy):
        group = "secret" if found.kind == "secret" else "personal data"
        yield text.count("\n", 0, found.start) + 1, f"{group}: {found.name} {mask(text[found.start : found.end])}"


def redact(text: str, policy: PrivacyPolicy = PrivacyPolicy(), found: list[PersonalDataMatch] | None = None) -> str:
    """Redact a text that was scanned with `found`, or not yet; what the policy refuses stays, and is still found."""
    pieces, at = [], 0
    for match in sorted(scan(text, policy) if found is None else found, key=lambda one: one.start):
        if policy.action(match.kind) == "redact":
            pieces += [text[at : match.start], f"[{match.name}]"]
            at = match.end
    return "".join([*pieces, text[at:]])


def scan(text: str, policy: PrivacyPolicy) -> list[PersonalDataMatch]:
    """Return what the policy doesn't allow, line by line."""
    found: list[PersonalDataMatch] = []
    at = 0
    for line in text.split("\n"):
        found += (PersonalDataMatch("secret", name, at + start, at + end) for name, start, end in _secrets(line))
        found += (
            PersonalDataMatch(kind, _NAMES[kind], at + start, at + end)
            for kind, start, end in _personal(line, policy.phone_regions)
            if policy.action(kind) != "allow"
        )
        at += len(line) + 1
    if not policy.allow:
        return found
    examples = [place.span() for allowed in policy.allow for place in re.finditer(re.escape(allowed), text)]
    return [one for one in found if not any(start <= one.start and one.end <= end for start, end in examples)]


def _secrets(line: str) -> Iterator[tuple[str, int, int]]:
    for header in _PEM.finditer(line):
        yield "Private Key", *header.span()
    if _MAY_HOLD_SECRET.search(line):
        for plugin in _secret_plugins():
            if any(plugin.analyze_string(line)):
                for form in plugin.denylist:
                    yield from ((plugin.secret_type, *match.span()) for match in form.finditer(line))


@cache
def _secret_plugins() -> tuple[Any, ...]:
    from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class

    known = get_mapping_from_secret_type_to_class().values()
    return tuple(plugin() for plugin in known if plugin.__module__.rpartition(".")[2] not in _GUESSES)


def _personal(line: str, regions: tuple[str, ...]) -> Iterator[tuple[Kind, int, int]]:
    """Each character belongs to one finding at most: the digits of a card are no telephone number as well."""
    taken: list[tuple[int, int]] = []
    for kind, start, end in _candidates(line, regions):
        if not any(start < other_end and other_start < end for other_start, other_end in taken):
            taken.append((start, end))
            yield kind, start, end


def _candidates(line: str, regions: tuple[str, ...]) -> Iterator[tuple[Kind, int, int]]:
    """Yield candidates, the surest first."""
    for match in _EMAIL.finditer(line):
        if not _NOBODY.search(match[0]):
            yield "email", *match.span()
    if not any(character.isdigit() for character in line):
        return
    for match in _IBAN.finditer(line):
        if _valid("iban", match[0]):
            yield "iban", *match.span()
    for match in _CARD.finditer(line):
        if len(set(match[0]) - {" ", "-"}) > 1 and _valid("luhn", re.sub(r"\D", "", match[0])):
            yield "card", *match.span()
    for module, form in _NATIONAL_IDS.items():
        for match in form.finditer(line):
            if _valid(module, match[0]):
                yield "national_id", *match.span()
    if _MAY_BE_PHONE.search(line):
        yield from _phones(line, regions)


def _valid(module: str, number: str) -> bool:
    return bool(import_module(f"stdnum.{module}").is_valid(number))


def _phones(line: str, regions: tuple[str, ...]) -> Iterator[tuple[Kind, int, int]]:
    from phonenumbers import Leniency, PhoneNumberMatcher

    for region in regions or (None,):
        for match in PhoneNumberMatcher(line, region, leniency=Leniency.STRICT_GROUPING):
            digits = sum(character.isdigit() for character in match.raw_string)
            if digits >= _FEWEST_DIGITS and not _is_address(match.raw_string):
                yield "phone", match.start, match.end


def _is_address(text: str) -> bool:
    """IPv4 addresses are grouped like numbers of some countries, which begin with a zero; addresses don't."""
    try:
        return bool(IPv4Address(text))
    except AddressValueError:
        return False


def mask(secret: str) -> str:
    """Return the first two characters and the length: enough to find it, too little to use it."""
    return f"{secret[:2]}… ({len(secret)} characters)"
