"""All readings of a text that a model might understand, with disguises and nested encodings undone, within bounds."""

from __future__ import annotations

import base64
import binascii
import html
import re
import string
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from sluice.guardrails.reading import Prefilter, Reading, Rewrite, ascii_letters, original, plain, skeleton
from sluice.guardrails.spellings import ciphers, joined, letters_for_digits

_PRINTABLE = 0.9  # of the characters of a decoded text
_BASE64 = re.compile(
    r"(?<![A-Za-z0-9+/_\-=])[A-Za-z0-9+/_\-]{12,}(?:\r?\n[A-Za-z0-9+/_\-]{4,})*={0,2}(?![A-Za-z0-9+/_\-])"
)
_BASE32 = re.compile(r"(?<![A-Z2-7=])[A-Z2-7]{16,}(?:\n[A-Z2-7]{8,})*={0,6}(?![A-Z2-7])")
_HEX = re.compile(r"(?<![0-9A-Za-z])(?:(?:0x|\\x)?[0-9A-Fa-f]{2}[ ,:;\-]?){7,}(?:0x|\\x)?[0-9A-Fa-f]{2}(?![0-9A-Za-z])")
_HEX_PAIR = re.compile(r"(?:0x|\\x)?([0-9A-Fa-f]{2})[ ,:;\-]?")
_BINARY = re.compile(r"(?<![01])(?:[01]{8}[ ,]?){5,}(?![01])")
_PERCENT = re.compile(r"(?:%[0-9A-Fa-f]{2})+|(?:=[0-9A-F]{2}){3,}")
_ENTITY = re.compile(r"&(?:#\d{2,6}|#[xX][0-9A-Fa-f]{2,5}|lt|gt|amp|quot|apos|nbsp);")
_ESCAPE = re.compile(r"(?:\\u\{?[0-9A-Fa-f]{4,5}\}?|\\x[0-9A-Fa-f]{2}|U\+[0-9A-F]{4,5} ?)+")
_CODE = re.compile(r"[0-9A-Fa-f]{4,5}|(?<=\\x)[0-9A-Fa-f]{2}")


def decoded(reading: Reading) -> Iterator[Reading]:
    """Yield one reading for each encoding that the text holds, with all its spans decoded in their places."""
    letters = ascii_letters(reading.text)
    for step, hint, pattern, decode in _DECODERS:
        if not hint.may_be_in(letters):
            continue
        rewrites: list[Rewrite] = []
        for match in pattern.finditer(reading.text):
            if text := decode(match[0]):
                rewrites.append((*match.span(), text))
        if rewrites:
            yield reading.rewritten(rewrites, step)


def _text(content: bytes) -> str:
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return ""
    printable = sum(c.isprintable() or c.isspace() for c in text)
    return text if printable >= _PRINTABLE * len(text) else ""


def _base64(span: str) -> str:
    body = "".join(span.split()).rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return _text(base64.b64decode(body[: len(body) - (len(body) % 4 == 1)] + "=" * (-len(body) % 4 % 3)))
    except binascii.Error:
        return ""


def _base32(span: str) -> str:
    body = "".join(span.split()).rstrip("=")
    try:
        return _text(base64.b32decode(body + "=" * (-len(body) % 8)))
    except binascii.Error:
        return ""


def _hexadecimal(span: str) -> str:
    return _text(bytes.fromhex("".join(_HEX_PAIR.findall(span))))


def _binary(span: str) -> str:
    return _text(bytes(int(octet, 2) for octet in re.findall("[01]{8}", span)))


def _escape(span: str) -> str:
    codes = [int(code, 16) for code in _CODE.findall(span)]
    return "".join(chr(code) for code in codes if code <= 0x10FFFF and not 0xD800 <= code < 0xE000)


# Name, what every such span holds, pattern, decoder.
_DECODERS: tuple[tuple[str, Prefilter, re.Pattern[str], Callable[[str], str]], ...] = (
    ("url", Prefilter("x", x="%="), _PERCENT, lambda span: _text(unquote_to_bytes(span.replace("=", "%")))),
    ("html", Prefilter("x", x="&"), _ENTITY, html.unescape),
    ("escapes", Prefilter("x", x="\\U"), _ESCAPE, _escape),
    ("hex", Prefilter("x" * 16, x=string.hexdigits + " ,:;-x\\"), _HEX, _hexadecimal),
    ("binary", Prefilter("x" * 40, x="01 ,"), _BINARY, _binary),
    ("base64", Prefilter("x" * 12, x=string.ascii_letters + string.digits + "+/_-"), _BASE64, _base64),
    ("base32", Prefilter("x" * 16, x=string.ascii_uppercase + "234567"), _BASE32, _base32),
)


MOST_CHARACTERS = 16_384  # of a text; what is longer is not read at all
MOST_DEPTH = 4  # steps behind the first reading
MOST_READINGS = 16
_MOST_TOGETHER = 3 * MOST_CHARACTERS  # characters of all readings


@dataclass(frozen=True)
class NormalizedText:
    """`readings`: the plainest first, no text twice. `complete`: nothing was left unread for the bounds."""

    readings: tuple[Reading, ...]
    complete: bool = True


def normalize_text(text: str) -> NormalizedText:
    """Return all readings within the bounds; a text that is too long has none and is not complete."""
    if len(text) > MOST_CHARACTERS:
        return NormalizedText((), False)
    first = plain(original(text))
    readings: list[Reading] = []
    context: set[str] = set()
    waiting = deque([(0, first)])
    left = _MOST_TOGETHER
    complete = True
    while waiting:
        depth, reading = waiting.popleft()
        if reading.text in context:
            continue
        if len(readings) >= MOST_READINGS or len(reading.text) > left or depth > MOST_DEPTH:
            complete = False
            break
        context.add(reading.text)
        readings.append(reading)
        left -= len(reading.text)
        waiting.extend((depth + 1, each) for each in _readings(reading))
    return NormalizedText(tuple(readings), complete)


def _readings(reading: Reading) -> Iterator[Reading]:
    if not reading.text.isascii():
        yield plain(reading)
        yield skeleton(reading)
    for each in (joined(reading), letters_for_digits(reading)):
        if each is not None:
            yield each
    yield from decoded(reading)
    yield from ciphers(reading)
