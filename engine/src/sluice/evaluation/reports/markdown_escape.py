"""Escapes untrusted text for GitHub's Markdown: model output must not become markup, a mention or a link."""

from __future__ import annotations

import html
import string
import unicodedata

_PUNCTUATION = {ord(sign): f"&#{ord(sign)};" for sign in string.punctuation}
# Joiners that scripts and emoji need; other invisible signs can turn the direction of a line or hide in it.
_JOINERS = "\u200c\u200d"


class _VisibleCharacters(dict[int, str | None]):
    """For str.translate: what is shown in place of a code point, looked up once; None for nothing."""

    def __missing__(self, code: int) -> str | None:
        sign = chr(code)
        category = unicodedata.category(sign)
        if category == "Cs":
            self[code] = "\ufffd"
        elif sign.isspace() or category == "Cc":
            self[code] = " "
        else:
            self[code] = sign if category != "Cf" or sign in _JOINERS else None
        return self[code]


_SHOWN = _VisibleCharacters()


def printable(text: str) -> str:
    """The text without control and format characters, on one line; halves of surrogate pairs become U+FFFD."""
    return " ".join(text.translate(_SHOWN).split())


def clip(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def clipped(text: str, length: int) -> str:
    """At most `length` characters of the printable text. Most of a long text is not looked at."""
    start = printable(text[: 4 * length])
    return clip(start if len(start) > length else printable(text), length)


def quoted(text: str, length: int = 200) -> str:
    """As code, safe in a cell of a table. All punctuation is written as character references: nothing is markup. GitHub
    makes mentions, links to issues and emoji out of rendered text, but not inside code."""
    shown = clipped(text, length)
    return f"<code>{shown.translate(_PUNCTUATION)}</code>" if shown else ""


def preformatted(pieces: list[tuple[str, str]]) -> str:
    """A block of (kind, text), `-` as removed and `+` as added. It is HTML, in which Markdown is not looked for."""
    tags = {"-": "del", "+": "ins"}
    written = []
    for kind, text in pieces:
        lines = "\n".join(printable(line) if line.strip() else "" for line in text.split("\n"))
        lead = " " if text[:1] == " " else ""
        tail = " " if text[-1:] == " " and text.strip(" ") else ""
        inner = html.escape(lead + lines + tail, quote=False)
        written.append(f"<{tags[kind]}>{inner}</{tags[kind]}>" if kind in tags else inner)
    return f"<pre>{''.join(written)}</pre>"
