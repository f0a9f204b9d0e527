"""The workflows and composite actions of .github/, parsed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from sluice.core.errors import SluiceError
from sluice.core.settings import Lines, parse_yaml

WORKFLOWS = ".github/workflows/"
LEDGER = "engine/docs/reference/actions.md"
_EXPRESSION = re.compile(r"\$\{\{(.*?)\}\}", re.DOTALL)
_LITERAL = re.compile(r"'(?:[^']|'')*'")


@dataclass(frozen=True)
class File:
    """A parsed file. `document` has the key `on` as it is written; YAML 1.1 would read it as true."""

    path: str
    text: str
    document: dict[str, Any]
    lines: Lines

    @property
    def name(self) -> str:
        parts = self.path.split("/")
        return parts[-1] if self.path.startswith(WORKFLOWS) else parts[-2]

    @property
    def jobs(self) -> dict[str, dict[str, Any]]:
        return dict(self.document.get("jobs") or {})

    @property
    def triggers(self) -> dict[str, Any]:
        """Return events with their settings, from any of the three forms that GitHub knows."""
        on = self.document.get("on")
        if isinstance(on, str):
            return {on: None}
        return dict.fromkeys(on) if isinstance(on, list) else dict(on or {})

    def line(self, *place: str | int) -> str:
        return self.text.splitlines()[self.lines[place] - 1]


@dataclass(frozen=True)
class Repository:
    """`files`: path from the root -> text, of everything under .github/ that is YAML, and the ledger of actions."""

    files: Mapping[str, str]

    @classmethod
    def read(cls, root: Path) -> Repository:
        paths = [*(root / ".github").rglob("*.yml"), *(root / ".github").rglob("*.yaml"), root / LEDGER]
        return cls({path.relative_to(root).as_posix(): path.read_text() for path in sorted(paths)})

    @cached_property
    def _parsed(self) -> tuple[dict[str, File], list[str]]:
        found, broken = {}, []
        for path, text in self.files.items():
            if not path.startswith(WORKFLOWS) and path.rpartition("/")[2] not in ("action.yml", "action.yaml"):
                continue
            try:
                document, lines = parse_yaml(text.encode(), path)
            except SluiceError as error:
                broken.append(error.message)
                continue
            if isinstance(document, dict):
                found[path] = File(path, text, {"on" if key is True else key: document[key] for key in document}, lines)
            else:
                broken.append(f"{path}: not a mapping")
        return found, broken

    @property
    def broken(self) -> list[str]:
        return self._parsed[1]

    @property
    def workflows(self) -> list[File]:
        return [file for path, file in self._parsed[0].items() if path.startswith(WORKFLOWS)]

    @property
    def actions(self) -> list[File]:
        return [file for path, file in self._parsed[0].items() if not path.startswith(WORKFLOWS)]

    def workflow(self, uses: str) -> File | None:
        return self._parsed[0].get(uses.removeprefix("./"))

    def action(self, uses: str) -> File | None:
        folder = uses.removeprefix("./").rstrip("/")
        return self._parsed[0].get(f"{folder}/action.yml") or self._parsed[0].get(f"{folder}/action.yaml")

    def steps(self) -> Iterator[tuple[File, str, dict[str, Any], tuple[str | int, ...]]]:
        """Yield every step: its file, `file job`, itself, and its place in the file."""
        for file in self.workflows:
            for name, job in file.jobs.items():
                for number, step in enumerate(job.get("steps") or []):
                    yield file, f"{file.name} {name}", step, ("jobs", name, "steps", number)
        for file in self.actions:
            for number, step in enumerate((file.document.get("runs") or {}).get("steps") or []):
                yield file, file.name, step, ("runs", "steps", number)


def expressions(value: Any, key: str = "") -> Iterator[str]:
    """Every expression in a parsed value, without its string literals. What stands after `if` is one without braces."""
    if isinstance(value, dict):
        for name, below in value.items():
            yield from expressions(below, str(name))
    elif isinstance(value, list):
        for below in value:
            yield from expressions(below)
    elif isinstance(value, str):
        found = [value] if key == "if" and "${{" not in value else _EXPRESSION.findall(value)
        yield from (_LITERAL.sub("", one) for one in found)
