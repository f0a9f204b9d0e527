"""Obfuscates texts, and lists all readings of a text that may be obfuscated."""

from __future__ import annotations

import base64
import codecs
import re
import unicodedata
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass

_CYRILLIC = str.maketrans("aceiopsxyABCEHIKMOPTX", "асеіорѕхуАВСЕНІКМОРТХ")
_LATIN = {other: letter for letter, other in _CYRILLIC.items()}
_LEET = str.maketrans("aeiostAEIOST", "431057431057")
_PLAIN = str.maketrans("431057", "aeiost")
_ZERO_WIDTH = "\u200b"
_RIGHT_TO_LEFT, _POP = "\u202e", "\u202c"
_TAG = 0xE0000
_BASE64 = re.compile(r"[A-Za-z0-9+/]{12,}={0,2}")
_HEX = re.compile(r"(?:[0-9a-fA-F]{2}[ :]?){6,}")
_DEPTH = 2


@dataclass(frozen=True)
class Transform:
    """`undo` recovers what `apply` made of a text; models must be told to decode a `code`."""

    apply: Callable[[str], str]
    undo: Callable[[str], str]
    says: str
    code: bool = False


def plain(text: str) -> str:
    """Decode tag letters, drop invisible characters, and replace compatibility forms and look-alikes."""
    kept = []
    for sign in text:
        code = ord(sign)
        if 0x20 <= code - _TAG <= 0x7E:
            kept.append(chr(code - _TAG))
        elif unicodedata.category(sign) != "Cf":
            kept.append(sign)
    return unicodedata.normalize("NFKC", "".join(kept)).translate(_LATIN)


def _full_width(text: str) -> str:
    return "".join(chr(ord(sign) + 0xFEE0) if "!" <= sign <= "~" else sign for sign in text)


def _reordered(text: str) -> str:
    """Write words backwards between direction marks, so that people see them the right way round."""
    return " ".join(f"{_RIGHT_TO_LEFT}{word[::-1]}{_POP}" for word in text.split(" "))


def _in_order(text: str) -> str:
    return re.sub(f"{_RIGHT_TO_LEFT}([^{_POP}]*){_POP}", lambda found: found[1][::-1], text)


def _closed_up(text: str) -> str:
    return re.sub(
        r"(?<!\S)\S(?: \S)+(?!\S)(?:   )?", lambda found: found[0].strip().replace(" ", "") + " ", text
    ).strip()


def _decoder(pattern: re.Pattern[str], decode: Callable[[str], bytes]) -> Callable[[str], str]:
    """Return a function that decodes each match of the pattern, unless it is no text."""

    def read(found: re.Match[str]) -> str:
        try:
            return decode(found[0]).decode()
        except ValueError:  # of fromhex, and the base of binascii.Error and UnicodeDecodeError
            return found[0]

    return lambda text: pattern.sub(read, text)


_of_hex = _decoder(_HEX, lambda text: bytes.fromhex(re.sub(r"[ :]", "", text)))
_of_base64 = _decoder(_BASE64, lambda text: base64.b64decode(text.rstrip("=") + "=="))  # more padding does no harm


def _rot13(text: str) -> str:
    return codecs.encode(text, "rot13")


def _percent(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode())


def _tags(text: str) -> str:
    return "".join(chr(_TAG + ord(sign)) if " " <= sign <= "~" else sign for sign in text)


TRANSFORMS: Mapping[str, Transform] = {
    "zero_width": Transform(_ZERO_WIDTH.join, plain, "letters with zero-width spaces between them"),
    "full_width": Transform(_full_width, plain, "full-width letters"),
    "homoglyphs": Transform(lambda text: text.translate(_CYRILLIC), plain, "Cyrillic look-alikes"),
    "tag_letters": Transform(_tags, plain, "tag letters"),
    "reordered": Transform(_reordered, _in_order, "words turned round"),
    "spaced": Transform(lambda text: "   ".join(map(" ".join, text.split())), _closed_up, "spaced letters"),
    "base64": Transform(lambda text: base64.b64encode(text.encode()).decode(), _of_base64, "base64", code=True),
    "hex": Transform(lambda text: text.encode().hex(), _of_hex, "hexadecimal", code=True),
    "rot13": Transform(_rot13, _rot13, "rot13", code=True),
    "url": Transform(_percent, urllib.parse.unquote, "percent-encoding", code=True),
    "leetspeak": Transform(lambda text: text.translate(_LEET), lambda text: text.translate(_PLAIN), "leetspeak"),
    "backwards": Transform(lambda text: text[::-1], lambda text: text[::-1], "reverse order", code=True),
}
_WRITTEN_IN = "written in "


def readings(text: str) -> set[str]:
    """Return the text and its readings with up to two disguises removed."""
    found = {text}
    fresh = {text}
    for _ in range(_DEPTH):
        fresh = {one.undo(each) for one in TRANSFORMS.values() for each in fresh} - found
        found |= fresh
    return found


def wish(name: str) -> str:
    """Return the words that ask for an answer in this form, by default plain text."""
    return _WRITTEN_IN + (TRANSFORMS[name].says if name else "plain text")


def wished_form(text: str) -> Transform | None:
    """Return the form that the text asked for last with `wish`."""
    named = {text.rfind(_WRITTEN_IN + one.says): one for one in TRANSFORMS.values()}
    place = max(named)
    return named[place] if place >= 0 else None
