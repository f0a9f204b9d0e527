"""Cuts a Markdown document along its structure: headings, paragraphs, whole lists, tables and code blocks."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from io import StringIO
from itertools import pairwise
from typing import TYPE_CHECKING

from sluice.core.text import ALONE, sentences

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

# Words and marks, which comes near to the tokens of most models.
_UNIT = re.compile(rf"[{ALONE}]|[^\W{ALONE}]+|[^\w\s]")
_WHOLE = 2.5  # times the limit up to which a list, a table or a code block stays whole
_CODE = ("fence", "code_block")
_SHORT = 60  # words and marks up to which a list or a table is stated as a whole
_FLOOR = 3  # a chunk below this part of the limit is joined with another


@dataclass(frozen=True)
class Block:
    """A block of a document from its first character to the next block's; `level` is that of a heading, or 0.
    `parts` are the places where a block over the limit may be cut: items of a list, rows of a table, lines of code."""

    start: int
    text: str
    level: int = 0
    heading: str = ""
    parts: tuple[str, ...] = ()
    code: bool = False

    @property
    def size(self) -> int:
        return size_of(self.text)


@dataclass(frozen=True)
class Section:
    """A chunk: verbatim text from `start` on, and the headings above it."""

    start: int
    text: str
    path: tuple[str, ...]


def size_of(text: str) -> int:
    return len(_UNIT.findall(text))


@cache
def parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark").enable("table")


def plain(token: Token) -> str:
    """Return the text of an inline token without its markup."""
    return "".join(" " if one.type == "softbreak" else one.content for one in token.children or () if not one.nesting)


def is_structured(text: str) -> bool:
    """Return whether a text is, or ends with, a list, a table or a code block."""
    tokens = parser().parse(text)
    return bool(tokens) and tokens[-1].type != "paragraph_close"


def title_of(text: str) -> str:
    """Return the first heading, at best of level 1, that isn't in code; "" without any."""
    found = [block for block in blocks(text) if block.level and block.heading]
    return next((block.heading for block in found if block.level == 1), found[0].heading if found else "")


def blocks(text: str) -> list[Block]:
    """Return the blocks of a text, which joined are the text."""
    tokens = parser().parse(text)
    lines = list(StringIO(text, newline=""))  # as the parser counts them: splitlines cuts at U+2028 and form feeds too
    offsets = [0]
    for line in lines:
        offsets.append(offsets[-1] + len(line))
    top = [(place, token) for place, token in enumerate(tokens) if not token.level and token.map and token.nesting >= 0]
    # Link definitions make no token: lines between two blocks belong to the one before.
    begins = [token.map[0] if place else 0 for place, (_, token) in enumerate(top) if token.map]
    found = []
    places = pairwise([*(place for place, _ in top), len(tokens)])
    for (_, token), (place, last), (begin, end) in zip(top, places, pairwise([*begins, len(lines)]), strict=True):
        level = int(token.tag[1]) if token.type == "heading_open" else 0
        parts = _cut(lines, begin, end, _lines_to_cut(token, tokens[place:last]))
        heading = plain(tokens[place + 1]) if level else ""
        code = token.type in _CODE
        found.append(Block(offsets[begin], "".join(lines[begin:end]), level, heading, parts, code))
    return found


def _lines_to_cut(token: Token, tokens: Sequence[Token]) -> list[int]:
    """Return the lines before which a block may be cut."""
    if token.type in ("bullet_list_open", "ordered_list_open"):
        return [one.map[0] for one in tokens if one.type == "list_item_open" and one.level == 1 and one.map]
    if token.map and token.type in ("table_open", *_CODE):
        return list(range(token.map[0] + 3, token.map[1]))  # never between the head and the first row
    return []


def _cut(lines: Sequence[str], begin: int, end: int, before: Iterable[int]) -> tuple[str, ...]:
    places = [begin, *(line for line in before if begin < line < end), end]
    return tuple("".join(lines[one:other]) for one, other in pairwise(places)) if len(places) > 2 else ()


def sections(text: str, limit: int) -> list[Section]:
    """Cut a text into chunks of about `limit` words and marks; a list, a table or a code block may be longer.

    Blocks of a section stay together, with their heading. A chunk below the floor is joined with what follows, or at
    the end of the document with what comes before. Chunks have no gap: they are the text, but for white space."""
    found: list[Section] = []
    headings: dict[int, str] = {}  # above the current place, by level
    size = 0
    for unit in _units(blocks(text), limit):
        more = sum(block.size for block in unit)
        enough = size >= limit / _FLOOR
        if not found or (enough and (unit[0].level or size + more > limit)):
            above = tuple(name for level, name in headings.items() if not unit[0].level or level < unit[0].level)
            found.append(Section(unit[0].start, "", above))
            size = 0
        size += more
        for block in unit:
            if block.level:
                headings = {level: name for level, name in headings.items() if level < block.level}
                headings[block.level] = block.heading
    if len(found) > 1 and size < limit / _FLOOR:
        found.pop()
    places = [*(section.start for section in found), len(text)]
    whole = [(section, text[begin:end]) for section, (begin, end) in zip(found, pairwise(places), strict=True)]
    return [
        Section(section.start + len(piece) - len(piece.lstrip()), piece.strip(), section.path)
        for section, piece in whole
        if piece.strip()
    ]


@lru_cache(4096)
def statements(text: str) -> tuple[tuple[int, str], ...]:
    """Return what an answer may quote of a chunk, with its place: sentences, short lists and tables, or else their
    items and rows, and code with the sentence that introduces it. A heading is none."""
    if "\n" not in text:
        return tuple(_placed(text, sentences(text)))
    found: list[tuple[int, str]] = []
    for block in blocks(text):
        stated = block.text.strip()
        if block.parts and size_of(stated) > _SHORT and not block.code:
            found += _placed(text, block.parts, block.start)
        elif block.parts or block.code:
            if found and found[-1][1].endswith(":"):
                begin = found.pop()[0]
                stated = text[begin : block.start + len(block.text)].strip()
                found.append((begin, stated))
            else:
                found += _placed(text, [stated], block.start)
        elif not block.level:
            lines = text[: block.start] + block.text.replace("\n", " ")  # a line may end within a sentence
            found += _placed(lines, sentences(lines[block.start :]), block.start)
    return tuple(found)


def _placed(text: str, parts: Iterable[str], at: int = 0) -> Iterator[tuple[int, str]]:
    for part in parts:
        if stated := part.strip():
            at = text.index(stated, at)
            yield at, stated
            at += len(stated)


def _units(blocks: Sequence[Block], limit: int) -> Iterator[list[Block]]:
    """Yield blocks that stay together: headings with what follows them, an introduction with what it introduces."""
    unit: list[Block] = []
    for block in blocks:
        pieces = list(_pieces(block, limit))
        for place, piece in enumerate(pieces):
            unit.append(piece)
            introduces = not piece.parts and piece.text.rstrip().endswith(":") and place == len(pieces) - 1
            if not piece.level and not introduces:
                yield unit
                unit = []
    if unit:
        yield unit


def _pieces(block: Block, limit: int) -> Iterator[Block]:
    """Yield a block, or pieces of one that is too long."""
    if block.size <= (limit * _WHOLE if block.parts else limit):
        yield block
        return
    start = block.start
    for text in _packed(block.parts or _sentences(block.text), limit):
        yield Block(start, text)
        start += len(text)


def _packed(parts: Iterable[str], limit: int) -> Iterator[str]:
    held = ""
    for part in parts:
        if held and size_of(held) + size_of(part) > limit:
            yield held
            held = ""
        held += part
        if size_of(held) > limit * _WHOLE:  # a sentence, an item or a line without end
            *cut, held = _between_words(held, limit)
            yield from cut
    if held:
        yield held


def _between_words(text: str, limit: int) -> Iterator[str]:
    units = [unit.start() for unit in _UNIT.finditer(text)]
    begin = first = 0
    while len(units) - first > limit:
        end = units[first + limit]
        end = max(text.rfind(mark, begin, end) + 1 for mark in " \n") or end
        yield text[begin:end]
        begin, first = end, bisect_left(units, end)
    yield text[begin:]


def _sentences(text: str) -> list[str]:
    """Return the sentences of a text with the white space behind them."""
    begins = [at for at, _ in _placed(text, sentences(text))]
    return [text[begin:end] for begin, end in pairwise([0, *begins[1:], len(text)])]
