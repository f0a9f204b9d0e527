"""Foreign text inside GitHub's Markdown: what a model wrote must not become markup, a mention or a link."""

from __future__ import annotations

import html
import string
import unicodedata

_PUNCTUATION = {ord(sign): f"&#{ord(sign)};" for sign in string.punctuation}
# Joiners that scripts and emoji need; other invisible signs can turn the direction of a line or hide in it.
_JOINERS = "\u200c\u200d"


def printable(text: str) -> str:
    """The text without control and format characters, on one line; halves of surrogate pairs become U+FFFD."""
    kept = []
    for sign in text:
        category = unicodedata.category(sign)
        if category == "Cs":
            kept.append("\ufffd")
        elif sign.isspace() or category == "Cc":
            kept.append(" ")
        elif category != "Cf" or sign in _JOINERS:
            kept.append(sign)
    return " ".join("".join(kept).split())


def clip(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def quoted(text: str, length: int = 200) -> str:
    """As code, safe in a cell of a table, at most `length` characters of the text.

    All punctuation is written as character references, so that nothing is markup and no line breaks the table. GitHub
    makes mentions, links to issues and emoji out of rendered text, but not inside code.
    """
    shown = clip(printable(text), length)
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
