"""Takes the settings of removed parts out of a project that was made before 0.1.0 was released."""

from __future__ import annotations

import re
from pathlib import Path

PARTS = ("sweep", "connections", "budgets")
FILES: tuple[str, ...] = ("config/budgets.yaml",)
KEYS = {"pipelines/params.yaml": ("sweep",), "config/service.yaml": ("limits", "connections")}


def apply(root: Path) -> list[str]:
    changed = [path for path in FILES if (root / path).is_file()]
    for path in changed:
        (root / path).unlink()
    for path in ("config/project.yaml", *KEYS):
        if (root / path).is_file():
            before = (root / path).read_text(encoding="utf-8")
            after = (
                cut(before, KEYS[path]) if path in KEYS else re.sub(r"(?m)^without: *\[.*\]", _without_parts, before)
            )
            if after != before:
                (root / path).write_text(after, encoding="utf-8")
                changed.append(path)
    return sorted(changed)


def cut(text: str, place: tuple[str, ...]) -> str:
    """Cut a key of a YAML file, in block style, with what is below it."""
    lines = text.splitlines(keepends=True)
    at, end, indent = -1, len(lines), -1
    for key in place:
        numbers = (n for n in range(at + 1, end) if re.match(rf" *{key} *:", lines[n]) and _indent(lines[n]) > indent)
        if (at := next(numbers, -1)) < 0:
            return text
        indent = _indent(lines[at])
        end = next((n for n in range(at + 1, end) if lines[n].strip() and _indent(lines[n]) <= indent), end)
    return "".join(lines[:at] + lines[end:])


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _without_parts(found: re.Match[str]) -> str:
    return f"without: [{', '.join(name for name in re.findall(r'[a-z_]+', found[0])[1:] if name not in PARTS)}]"
