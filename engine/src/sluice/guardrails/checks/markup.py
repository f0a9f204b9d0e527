"""Markup that acts on the reader of an answer: active HTML, images that exfiltrate data, unknown links.

Streams are checked by sentence, so addresses are found anywhere, and tags also without an end.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit

from pydantic import Field

from sluice.core.settings import Settings
from sluice.guardrails.check import CheckContext, Finding, PatternCheck, check
from sluice.guardrails.reading import Prefilter, ascii_letters

_TAGS = (
    "script|iframe|frame|img|image|svg|math|object|embed|applet|link|style|base|meta|form|input|button|video|audio|"
    "source|template|a"
)
_HTML = re.compile(rf"<\s*/?\s*(?:{_TAGS})(?:[\s/][^<>]*)?(?:>|$)|<[a-z][^<>]*\son\w+\s*=[^<>]*(?:>|$)", re.IGNORECASE)
_IMAGE = re.compile(r"!\[[^\]\n]*\](?:\([^)\s]*(?:\s[^)]*)?\)?|\[[^\]\n]*\])")
_ADDRESS = re.compile(
    r"(?:\b(?:https?|ftp|wss?|file)://|(?<![\w:/])//(?=[\w-]+\.)|\bwww\.(?=\w))[^\s<>\"'`)\]}]+", re.IGNORECASE
)
_SCHEME = re.compile(r"\b(?:javascript|vbscript|data)\s*:\s*[^\s<>\"'`)\]}]{2,}", re.IGNORECASE)
_SIGNS = Prefilter("x", x="<!:/")  # in whatever is found, but for an address that begins with www
_MEDIA = re.compile(r"^data\s*:\s*\w+/|^\w+script", re.IGNORECASE)


class MarkupOptions(Settings):
    hosts: tuple[str, ...] = Field((), description="hosts that links may lead to, with all hosts below them")


@check
class MarkupCheck(PatternCheck):
    name = "markup"
    options_model = MarkupOptions

    def find(self, context: CheckContext) -> list[Finding]:
        """Return what acts on the reader, but for links that stand in a passage of the answer."""
        return [
            one
            for one in super().find(context)
            if one.reason != "markup.link" or context.text[one.start : one.end] not in context.links
        ]

    def find_in(self, text: str) -> list[Finding]:
        if not _SIGNS.may_be_in(ascii_letters(text)) and "www" not in text.lower():
            return []
        found = [Finding("markup.html", *match.span()) for match in _HTML.finditer(text)]
        for match in _IMAGE.finditer(text):
            address = _ADDRESS.search(match[0])
            if address is None or not _allowed(address[0], self.options.hosts):
                found.append(Finding("markup.image", *match.span()))
        for start, link in addresses(text):
            if not _allowed(link, self.options.hosts):
                found.append(Finding("markup.link", start, start + len(link)))
        found += [Finding("markup.script", *match.span()) for match in _SCHEME.finditer(text) if _MEDIA.match(match[0])]
        return found


def links_of(text: str, passages: Iterable[str]) -> tuple[str, ...]:
    """Return the addresses in a text that passages state, to the letter: whatever is added to one makes it another."""
    wanted = {address for _, address in addresses(text)}
    stated = {address for passage in passages for _, address in addresses(passage)} if wanted else set()
    return tuple(sorted(wanted & stated))


def addresses(text: str) -> Iterator[tuple[int, str]]:
    """Yield the addresses in a text with their places, without the marks that end a sentence."""
    if "//" in text or "www" in text.lower():
        yield from ((match.start(), match[0].rstrip(".,;:!?")) for match in _ADDRESS.finditer(text))


def _allowed(address: str, hosts: tuple[str, ...]) -> bool:
    absolute = address if "://" in address else f"https://{address.removeprefix('//')}"
    try:
        parts = urlsplit(absolute)
        host = (parts.hostname or "").rstrip(".")
    except ValueError:
        return False
    if "\\" in address or parts.username is not None or parts.scheme not in ("http", "https"):
        return False
    return any(host == each or host.endswith(f".{each}") for each in hosts)
