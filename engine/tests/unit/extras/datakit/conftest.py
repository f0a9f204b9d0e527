from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from sluice.extras.datakit.traffic import Exchange
from sluice.serving.telemetry.telemetry import ProcessFacts, feedback_span
from support.telemetry.recording import RESOURCE, RecordedTrace, feedback_on, json_lines
from unit.data.conftest import *  # noqa: F403 - data folders that keep the contract

FACTS = ProcessFacts("r-" + "a" * 12, "answer", "d" * 64)


def trace_id(number: int) -> str:
    return f"{number:032x}"


def line(number: int, question: str = "", *, declined: bool = False, **more: Any) -> bytes:
    trace = RecordedTrace(trace_id(number), contents=more.get("contents", True))
    trace.route, trace.status, trace.tenant = "/v1/chat/completions", more.get("status", 200), more.get("tenant", "")
    trace.text("input", [{"role": "user", "content": question}])
    trace.text("output", [{"role": "assistant", "content": "The handbook does not say." if declined else "So it is."}])
    trace.set("sluice.declined", declined)
    if more.get("blocked"):
        trace.set("sluice.blocked", "injection")
    return json_lines(trace.spans(FACTS))


def score(number: int, value: float, comment: str = "") -> bytes:
    return json_lines([feedback_span(feedback_on(trace_id(number), value, comment=comment), FACTS, RESOURCE)])


@pytest.fixture
def spool(tmp_path: Path) -> Callable[..., Path]:
    def write(*lines: bytes, name: str = "1-1-1.jsonl") -> Path:
        folder = tmp_path / "traces"
        folder.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"".join(lines))
        return folder

    return write


def exchange(number: int, question: str, **more: Any) -> Exchange:
    rest = {"tenant": "default", "question": question, "declined": False, "blocked": False, "feedback": None}
    return Exchange(trace_id(number), **rest | more)


def pdf(*lines: str, trailer: bytes = b"") -> bytes:
    shown = "".join(f"({line}) Tj 0 -16 Td " for line in lines)
    return drawn(f"BT /F1 12 Tf 50 700 Td {shown}ET", trailer=trailer)


def drawn(*pages: str, bookmarks: Sequence[str] = (), trailer: bytes = b"") -> bytes:
    """Return a PDF of content streams with Helvetica as F1 and Courier as F2; each bookmark is below the one before."""
    first = 5 + 2 * len(pages)  # object of the root of bookmarks, which lead to the first page
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R /Outlines %d 0 R >>" % first,
        b"<< /Type /Pages /Kids [%s] /Count %d >>"
        % (b"".join(b"%d 0 R " % at for at in range(5, first, 2)), len(pages)),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Courier >>",
    ]
    for at, page in enumerate(pages):
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents %d 0 R "
            b"/Resources << /Font << /F1 3 0 R /F2 4 0 R >> >> >>" % (6 + 2 * at)
        )
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(page), page.encode("latin-1")))
    for at, name in enumerate(["", *bookmarks]):
        below = b"/First %d 0 R /Last %d 0 R" % (first + at + 1, first + at + 1) if at < len(bookmarks) else b""
        objects.append(
            b"<< /Title (%s) /Parent %d 0 R /Dest [5 0 R /Fit] %s >>" % (name.encode(), first + at - 1, below)
        )
    numbered = b"".join(b"%d 0 obj\n%s\nendobj\n" % (number, content) for number, content in enumerate(objects, 1))
    size = len(objects) + 1
    return b"%%PDF-1.4\n%strailer\n<< /Size %d /Root 1 0 R %s >>\nstartxref\n0\n%%%%EOF\n" % (numbered, size, trailer)
