"""engine/docs/reference/holding-up.md: each claim names tests and benchmarks that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path


def named(page: str) -> list[list[str]]:
    """For each row of the table: what its second cell names."""
    rows = [line.strip("|").split(" | ") for line in page.splitlines() if line.startswith("| ")]
    return [re.findall(r"`([\w/.]+\.py(?:::\w+)?)", row[1]) for row in rows if row[1].strip() != "test or benchmark"]


def missing(root: Path, name: str) -> str:
    """What is wrong with a name; empty when it is there. Paths of benchmarks are whole, those of tests below tests/."""
    path, _, test = name.partition("::")
    file = root / path if path.startswith("engine/benchmarks/") else root / "engine" / "tests" / path
    if not file.is_file():
        return f"no file {path}"
    functions = {node.name for node in ast.parse(file.read_text()).body if isinstance(node, ast.FunctionDef)}
    return "" if not test or test in functions else f"no test {test} in {path}"


def test_every_claim_has_its_test(root: Path) -> None:
    rows = named((root / "engine" / "docs" / "reference" / "holding-up.md").read_text())
    assert len(rows) >= 10
    assert all(rows), "a claim without a test or a benchmark"
    assert [fault for row in rows for name in row if (fault := missing(root, name))] == []


def test_a_name_that_is_gone_is_found(root: Path) -> None:
    assert missing(root, "unit/serving/test_drain.py::test_nothing")
    assert missing(root, "engine/benchmarks/nothing.py")
