"""Reads PDF files as Markdown: headings by bookmarks or sizes, code by its font, items by their marks, ruled tables."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

_MARK = re.compile(r"([•‣◦▪●○■*\ue000-\uf8ff–-]|\d{1,3}[.)])\s+(?=\S)")  # of an item; some are of symbol fonts
_CODE = re.compile(r"mono(?!type)|courier|consol|menlo|typewriter|tt\d", re.IGNORECASE)  # fonts
_LEADERS = re.compile(r"(\. ){3}|\.{5}")  # of a table of contents
_SPACE = 0.15  # of the size: the least gap between words; most fonts have a quarter
_NEAR = 1.25  # times the usual distance of lines: paragraphs are further apart
_Line = dict[str, Any]  # of pdfplumber, with `page`, `size` (0: a table), `code` and `level` (0: no heading)


def read_pdf(path: Path) -> tuple[str, str]:
    """Return the title that the file states, and its text."""
    import pdfplumber
    from pypdfium2 import PdfDocument

    with pdfplumber.open(path) as pdf, PdfDocument(path) as document:
        lines = _without_running([line for page in pdf.pages for line in _lines(page)])
        marks = [(min(mark.level + 1, 6), mark.get_title(), mark.get_dest()) for mark in document.get_toc()]
        _mark_headings(lines, [(level, name, to.get_index()) for level, name, to in marks if _letters(name) and to])
        return str(pdf.metadata.get("Title") or ""), _markdown(lines)


def _letters(text: str) -> str:
    return re.sub(r"\W", "", text).casefold()


def _lines(page: Any) -> Iterator[_Line]:
    """Yield the lines of a page in the order of the file, which is that of columns, and tables where they stand."""
    more = {"page": page.page_number - 1, "x0": 0, "x1": 0, "size": 0, "code": False, "level": 0}
    tables, rest = [], page
    for table in page.find_tables():
        rows = [[" ".join((cell or "").split()) for cell in row] for row in table.extract(x_tolerance_ratio=_SPACE)]
        cells = [cell for row in rows for cell in row]
        if len(cells) > len(rows) > 1 and 2 * cells.count("") < len(cells):  # no frame, no drawing
            rows.insert(1, ["---"] * len(rows[0]))
            text = "\n".join("| " + " | ".join(cell.replace("|", r"\|") for cell in row) + " |" for row in rows)
            tables.append(more | {"text": text, "bottom": table.bbox[3]})
            rest = rest.outside_bbox(table.bbox)
    for line in rest.extract_text_lines(use_text_flow=True, x_tolerance_ratio=_SPACE):
        while tables and tables[0]["bottom"] < line["bottom"]:
            yield tables.pop(0)
        text = re.sub(r"\(cid:\d+\)|[\0\ufffd]", " ", line["text"]).strip()  # glyphs that stand for no letter
        size = Counter(round(char["size"], 1) for char in line["chars"]).most_common(1)[0][0]
        code = all(_CODE.search(char["fontname"]) for char in line["chars"])
        if text and (code or not _LEADERS.search(text)):
            yield more | line | {"text": text, "size": size, "code": code}
    yield from tables
    page.close()


def _without_running(lines: list[_Line]) -> list[_Line]:
    """Leave out headers and footers: at one height of most pages and, but for numbers, often the same."""
    pages, texts = defaultdict(set), defaultdict(list)
    for line in lines:
        pages[round(line["bottom"])].add(line["page"])
        texts[round(line["bottom"])].append(re.sub(r"\d", "", line["text"]))
    most = len({line["page"] for line in lines}) / 2
    running = {at for at in pages if len(pages[at]) > most and len(set(texts[at])) <= len(texts[at]) / 2}
    return [line for line in lines if round(line["bottom"]) not in running]


def _mark_headings(lines: list[_Line], bookmarks: list[tuple[int, str, int | None]]) -> None:
    for level, name, page in bookmarks:
        found = []  # the largest first, then that with the fewest letters: `1.2 Walls` before `of walls`
        for place in (at for at, line in enumerate(lines) if page in (line["page"], line["page"] - 1)):
            for span in (lines[place : place + count] for count in (1, 2, 3)):
                text = " ".join(line["text"] for line in span)
                numbered = len(text.split()) <= len(name.split()) + 2  # such as `Chapter 1`
                if numbered and _letters(text).endswith(_letters(name)):
                    size = min(line["size"] for line in span)
                    found.append((-size, len(re.sub(r"[\W\d]", "", text)), place, len(span)))
        if found:
            *_, place, count = min(found)
            for line in lines[place : place + count]:
                line["level"] = level
    if any(line["level"] for line in lines):
        return
    sizes = Counter(line["size"] for line in lines for _ in line["text"] if not line["code"])
    larger = sorted({size for size in sizes if size > sizes.most_common(1)[0][0]}, reverse=True)
    for line in lines:
        if line["size"] in larger and re.search(r"[^\W\d_]{2}", line["text"]):
            line["level"] = min(larger.index(line["size"]) + 1, 6)


def _markdown(lines: list[_Line]) -> str:
    steps = Counter(round((b["bottom"] - a["bottom"]) / b["size"], 1) for a, b in pairwise(lines) if b["size"])
    usual = max((step for step in steps if step > 0), key=steps.__getitem__, default=1)
    rights = defaultdict(list)
    for line in lines:
        rights[round(line["x0"])].append(line["x1"])
    edges = {left: sorted(found)[len(found) * 9 // 10] for left, found in rights.items()}  # some lines stick out
    typed = Counter(line["code"] for line in lines for _ in line["text"])
    blocks: list[tuple[str, list[_Line]]] = [("", [])]
    for last, line in pairwise([*lines[:1], *lines]):
        kind, block = blocks[-1]
        near = line["page"] != last["page"] or line["bottom"] - last["bottom"] < _NEAR * usual * line["size"]
        deeper = line["x0"] > last["x0"] + line["size"] / 2
        first_word = (line["x1"] - line["x0"]) * len(line["text"].split()[0]) / len(line["text"])
        full = last["x1"] + first_word > edges[round(last["x0"])]  # the next word had no room
        flows = kind in ("text", "item") and near and full and abs(line["size"] - last["size"]) < 1
        if line["level"]:
            now, flows = "#" * line["level"], near and line["page"] == last["page"]
        elif not line["size"]:
            now, flows = "table", False
        elif line["code"] and (deeper or not flows) and typed[True] < typed[False]:
            now, flows = "code", True
        elif _MARK.match(line["text"]) and (kind == "item" or not flows):
            now, flows = "item", False
        else:
            flows = flows and not (deeper and block[1:])
            now = kind if flows else "text"
        if flows and now == kind:
            block.append(line)
        else:
            blocks.append((now, [line]))
    words = {word.casefold() for line in lines for word in line["text"].split()[1:-1]}
    text = "\n\n".join(_rendered(kind, block, words) for kind, block in blocks[1:])
    return re.sub(r"^(- .*)\n\n(?=- )", r"\1\n", text, flags=re.MULTILINE)


def _rendered(kind: str, lines: list[_Line], words: set[str]) -> str:
    if kind == "table":
        return str(lines[0]["text"])
    if kind == "code":
        left = min(line["x0"] for line in lines)
        indents = [round((line["x0"] - left) * len(line["text"]) / (line["x1"] - line["x0"] or 1)) for line in lines]
        code = [" " * indent + line["text"] for indent, line in zip(indents, lines, strict=True)]
        return "\n".join(["```", *code, "```"])
    text = "\n".join(line["text"] for line in lines)
    for cut, *halves in set(re.findall(r"((\w+)[-\u00ad\u2010]\n(\w+))", text)):
        compound = words >= {half.casefold() for half in halves} and "".join(halves).casefold() not in words
        text = text.replace(cut, ("-" if compound or cut.replace("\n", "").casefold() in words else "").join(halves))
    text = text.replace("\n", " ")
    if kind == "text":
        return re.sub(r"^(#+ |>|[-+*] |```)", r"\\\1", text)
    return re.sub(r"^\D\s+", "- ", text) if kind == "item" else f"{kind} {text}"
