from pathlib import Path

import pytest

from sluice.extras.datakit.pdf_reader import read_pdf
from unit.extras.datakit.conftest import drawn

FIRST = """The mole of oak began when all engi-
neers of a harbour had agreed on it
and a well-built pier was by a well-
built wall."""
SECOND = """A wall is built
- of oak that has been cut for a year
and is dry
- of steel"""
ROWS = " ".join(f"50 {y} m 250 {y} l" for y in (400, 380, 360))
GRID = f"{ROWS} 50 360 m 50 400 l 150 360 m 150 400 l 250 360 m 250 400 l S "


def shown(text: str, y: int, *, font: str = "F1", size: int = 10, x: int = 50) -> str:
    lines = " ".join(f"({line}) Tj T*" for line in text.splitlines())
    return f"BT /{font} {size} Tf {size * 1.2} TL {x} {y} Td {lines} ET "


PAGES = (
    shown("1 Moles", 750, size=20) + shown("Walls", 720, size=14) + shown(FIRST, 700),
    shown(SECOND, 700) + shown("def build():", 620, font="F2") + shown("# oak", 608, font="F2", x=74),
    GRID + shown("kind", 385) + shown("years", 385, x=160) + shown("oak", 365) + shown("50", 365, x=160),
)
GUIDE = [shown("Piers", 800) + page + shown(f"Page {number}", 20, x=280) for number, page in enumerate(PAGES)]
TEXT = """# 1 Moles

## Walls

The mole of oak began when all engineers of a harbour had agreed on it and a well-built pier was by a well-built wall.

A wall is built

- of oak that has been cut for a year and is dry
- of steel

```
def build():
    # oak
```

| kind | years |
| --- | --- |
| oak | 50 |"""


@pytest.mark.parametrize("bookmarks", [("Moles", "Walls"), ()], ids=["bookmarks", "sizes"])
def test_structure_is_kept_and_running_lines_are_gone(tmp_path: Path, bookmarks: tuple[str, ...]) -> None:
    (tmp_path / "a.pdf").write_bytes(drawn(*GUIDE, bookmarks=bookmarks))
    assert read_pdf(tmp_path / "a.pdf")[1] == TEXT


def test_a_document_in_a_typewriters_font_is_no_code(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(drawn(shown("Oak lasts.\nOn piles.", 700, font="F2")))
    assert read_pdf(tmp_path / "a.pdf")[1] == "Oak lasts. On piles."
