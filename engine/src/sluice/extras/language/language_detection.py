"""Detects the language of a text, or reports none: "64 tokens" is valid in many."""

from __future__ import annotations

from functools import cache
from typing import Any

SURE = 0.7
"""Below this share of the probability the language counts as unknown. engine/docs/reference/metrics.md has the
figures."""

# Widely used languages, without the close relatives of one another that short texts are taken for.
_CODES = (
    "ar bg bn ca cs da de el en es et fa fi fr he hi hr hu id it ja ko lt lv nl no pl pt ro ru sk sl sr sv th tr uk vi"
)
LANGUAGES = (*_CODES.split(), "zh")


def language_of(text: str) -> str | None:
    """The ISO 639-1 code, None when no language of `LANGUAGES` is likely enough."""
    if not text.strip():
        return None
    code, share = _identifier().classify(text)
    return str(code) if share >= SURE else None


@cache
def _identifier() -> Any:
    # An identifier of our own: the languages of the library's shared one are not ours to change.
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages(LANGUAGES)
    return identifier
