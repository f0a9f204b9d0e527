"""Single changes to a release, drawn by a seed: what somebody could alter in one of its files."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Change = Callable[[Path, random.Random], Path]


def flip_byte(path: Path, draw: random.Random) -> Path:
    content = bytearray(path.read_bytes())
    content[draw.randrange(len(content))] ^= draw.randrange(1, 256)
    path.write_bytes(bytes(content))
    return path


def alter(value: Any, draw: random.Random) -> Any:
    """Another value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + draw.choice((-1, 1)) * draw.choice((1, 0.25, 0.5))
    return f"{value or ''}{draw.choice('abcdef')}"


def leaves(value: Any) -> Iterator[tuple[Any, Any]]:
    """(container, key) of every value that holds no others."""
    for key, one in list(value.items() if isinstance(value, dict) else enumerate(value)):
        if isinstance(one, dict | list):
            yield from leaves(one)
        else:
            yield value, key


def alter_leaf(path: Path, draw: random.Random, wanted: Callable[[Any], bool] = lambda _: True) -> Path:
    """Another value at one place of a JSON file."""
    document = json.loads(path.read_text())
    holder, key = draw.choice([place for place in leaves(document) if wanted(place)])
    holder[key] = alter(holder[key], draw)
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False))
    return path


def alter_row(path: Path, draw: random.Random, key: str) -> Path:
    """Another value below one key of one row of JSON lines."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    row = draw.choice(rows)
    if isinstance(row[key], dict):
        name = draw.choice([name for name, value in row[key].items() if isinstance(value, float)])
        row[key][name] = alter(row[key][name], draw)
    else:
        row[key] = alter(row[key], draw)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return path


def replace(path: Path, draw: random.Random, pattern: str, by: Callable[[str], str]) -> Path:
    """Other text at one of the places where a pattern matches."""
    text = path.read_text()
    found = draw.choice(list(re.finditer(pattern, text)))
    path.write_text(text[: found.start(1)] + by(found[1]) + text[found.end(1) :])
    return path


def _score(folder: Path, draw: random.Random) -> Path:
    name = draw.choice(("cases.jsonl", "champion_cases.jsonl"))
    return alter_row(folder / "evaluation" / name, draw, "scores")


def _row(folder: Path, draw: random.Random) -> Path:
    if draw.random() < 0.5:
        return alter_row(folder / "judging" / "eval.jsonl", draw, draw.choice(("id", "question")))
    return alter_row(folder / "evaluation" / "cases.jsonl", draw, draw.choice(("id", "question", "answer")))


def _figure(folder: Path, draw: random.Random) -> Path:
    name = draw.choice(
        ("evaluation/summary.json", "evaluation/metrics.json", "evaluation/champion.json", "rehearsal.json")
    )
    return alter_leaf(folder / name, draw)


def _gate(folder: Path, draw: random.Random) -> Path:
    if draw.random() < 0.5:
        digit = draw.choice("123456789")
        return replace(
            folder / "judging" / "gates.yaml", draw, r"(?:limit|smallest): [\d.]+()(?=[,}])", lambda _: digit
        )
    return alter_leaf(folder / "release.json", draw, lambda place: isinstance(place[0], dict) and "limit" in place[0])


def _licence(folder: Path, draw: random.Random) -> Path:
    name = draw.choice(("config/models.yaml", "release.json"))
    return replace(folder / name, draw, r"(Apache-2\.0)", lambda _: draw.choice(("MIT", "CC0-1.0", "Apache-2.1")))


def _date(folder: Path, draw: random.Random) -> Path:
    return replace(
        folder / "release.json", draw, r"\"\d{4}-\d\d-\d\dT\d\d:\d\d:\d(\d)", lambda was: str((int(was) + 1) % 10)
    )


def _model(folder: Path, draw: random.Random) -> Path:
    return flip_byte(folder / "adapter.gguf", draw)


def _prompt(folder: Path, draw: random.Random) -> Path:
    return flip_byte(folder / "prompts" / "answer.prompt.yml", draw)


def _index(folder: Path, draw: random.Random) -> Path:
    return flip_byte(draw.choice(sorted((folder / "index").iterdir())), draw)


def _any(folder: Path, draw: random.Random) -> Path:
    """One byte of any file of all, SHA256SUMS with them."""
    return flip_byte(draw.choice(sorted(path for path in folder.rglob("*") if path.is_file())), draw)


CHANGES: dict[str, Change] = {
    "score": _score,
    "row": _row,
    "figure": _figure,
    "gate": _gate,
    "licence": _licence,
    "date": _date,
    "model": _model,
    "prompt": _prompt,
    "index": _index,
    "any byte": _any,
}
