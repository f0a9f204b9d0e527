"""Strings shaped like credentials: keys with a known prefix, private keys, passwords and tokens in plain text.

The shapes are precise on purpose. A sentence about passwords, a placeholder or a content digest is no secret.
"""

from __future__ import annotations

import re

from sluice.guardrails.check import Finding, PatternCheck, check
from sluice.guardrails.text_normalization.prefilter import said

_START = r"(?<![A-Za-z0-9])"
_NAMES = (
    r"password|passwd|passphrase|pwd|secret|client[_ -]secret|secret[_ -](?:access[_ -])?key|api[_ -]?key|"
    r"(?:access|auth|bearer|refresh)[_ -]token"
)
# No pattern may match across a sentence end (`.`, `!` or `?` and white space): streams are checked by sentence.
# Kind, pattern, and texts in lower case one of which stands in whatever the pattern matches: most texts hold none of
# them, and looking for those costs a tenth of looking for the pattern.
_PATTERNS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    # A body without the letters that end sentences; the last line may be missing.
    (
        "private_key",
        r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----(?:(?!-----)[\w+/=\s:,-])*(?:-----END [A-Z0-9 ]+-----)?",
        ("-----begin",),
    ),
    ("api_key", _START + r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}(?![A-Za-z0-9])", ("akia", "asia", "abia", "acca")),
    ("api_key", _START + r"sk-(?=[\w-]*\d)(?:[a-z0-9]{2,12}-)*[\w-]{20,}", ("sk-",)),
    (
        "api_key",
        _START + r"(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_\w{22,}|glpat-[\w-]{20,}|hf_[A-Za-z0-9]{30,})",
        ("gh", "github_pat_", "glpat-", "hf_"),
    ),
    (
        "api_key",
        _START + r"(?:xox[abeoprs]-[A-Za-z0-9-]{10,}|AIza[\w-]{35}|[rs]k_(?:live|test)_[A-Za-z0-9]{16,})",
        ("xox", "aiza", "k_live_", "k_test_"),
    ),
    ("api_key", _START + r"sluice_[0-9a-f]{8}_[\w-]{43}", ("sluice_",)),
    ("token", _START + r"eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,}", ("eyj",)),
    ("password", r"(?<=://)[^\s/:@]{1,64}:(?P<value>[^\s/:@]{3,})(?=@)", ("://",)),
    (
        "password",
        rf"(?i:\b(?:{_NAMES})[\"']?\s*(?:[:=]|\bis\b)\s*|\bbearer\s+)[\"'`]?(?P<value>[^\s\"'`,;]{{6,}})",
        ("password", "passwd", "passphrase", "pwd", "secret", "api", "access", "auth", "refresh", "bearer"),
    ),
)
_COMPILED = tuple((kind, re.compile(pattern), words) for kind, pattern, words in _PATTERNS)
_WORDS = frozenset(word for _, _, words in _PATTERNS for word in words)
_PLACEHOLDER = re.compile(r"^[<\[{$%(]|\.{3}|\*{3}|x{4}|\(|^os\.|^env", re.IGNORECASE)


@check
class SecretsCheck(PatternCheck):
    name = "secrets"

    def find_in(self, text: str) -> list[Finding]:
        """All findings; for a password or token that is spelt out the span is its value only."""
        found = []
        words_said = said(_WORDS, text)
        for kind, pattern, words in _COMPILED:
            if words_said.isdisjoint(words):
                continue
            for match in pattern.finditer(text):
                start, end = match.span()
                if "value" in pattern.groupindex:
                    start, end = match.span("value")
                    end -= len(match["value"]) - len(match["value"].rstrip(".?)]"))
                    if not _like_a_secret(text[start:end]):
                        continue
                found.append(Finding(f"secrets.{kind}", start, end))
        return found


def _like_a_secret(value: str) -> bool:
    """At least six characters with a digit and something else, and no placeholder: words and counts are not secrets."""
    if len(value) < 6 or _PLACEHOLDER.search(value):
        return False
    return any(c.isdigit() for c in value) and any(not c.isdigit() for c in value)
