"""Writes engine/docs/reference/cli.md: `.venv/bin/python engine/scripts/write_cli_reference.py [FOLDER]`.

It holds the help text of every `sluice` command as the program prints it 100 columns wide; a contract test compares.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

# Help is laid out for the terminal it finds, so the terminal is settled before the command line is imported.
os.environ.update(COLUMNS="100", TERMINAL_WIDTH="100", NO_COLOR="1", _TYPER_FORCE_DISABLE_TERMINAL="1")

import click
from typer.testing import CliRunner

from sluice.cli import app, command

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "reference"
HEAD = """# Command line

The help of every command. This page is written by `engine/scripts/write_cli_reference.py`; a contract test keeps it
true.
"""


def commands(group: click.Command, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words of every command that is shown in a help text, each group before its members."""
    yield words
    if isinstance(group, click.Group):
        for name, member in group.commands.items():
            if not member.hidden:
                yield from commands(member, (*words, name))


def section(words: tuple[str, ...]) -> str:
    shown = " ".join(("sluice", *words))
    help_text = CliRunner().invoke(app, [*words, "--help"], prog_name="sluice").output
    lines = "\n".join(line.rstrip() for line in help_text.strip("\n").splitlines())
    return f"\n## {shown}\n\n```text\n{lines.strip()}\n```\n"


def main(folder: Path) -> None:
    sections = [section(words) for words in commands(command())]
    (folder / "cli.md").write_text(HEAD + "".join(sections), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
