"""Markdown tables for GitHub with escaped cells: file names, branch names, titles, messages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    lines += [f"| {' | '.join(code(cell) for cell in row)} |" for row in rows]
    return "\n".join(lines) + "\n"


def code(text: str) -> str:
    """One line of code; empty for nothing. No part of it is Markdown, HTML, a mention, or, where it gets into a log, a
    command to the runner: that reads `##[` anywhere in a line."""
    plain = text.encode("utf-8", "replace").decode()
    shown = "".join(letter if letter.isprintable() else " " for letter in plain)
    shown = " ".join(shown.replace("`", "'").replace("|", "¦").replace("##[", "## [").split())
    return f"`{shown}`" if shown else ""
