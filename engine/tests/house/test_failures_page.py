"""engine/docs/reference/failures.md: each row names a test, and that test exists."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest


def rows(page: str) -> list[list[str]]:
    """Cells of all tables, without heads and rules."""
    cells = [[c.strip() for c in line.strip("|").split(" | ")] for line in page.splitlines() if line.startswith("| ")]
    return [row for row in cells if row[-1] not in ("test", "test |")]


@pytest.fixture(scope="module")
def page(root: Path) -> str:
    return (root / "engine" / "docs" / "reference" / "failures.md").read_text()


def missing(root: Path, row: list[str]) -> str:
    """What is wrong with the last cell of a row; empty when its test is there."""
    path, colons, name = row[-1].strip("` |").partition("::")
    file = root / "engine" / "tests" / path
    if not colons or not file.is_file():
        return f"{row[0]}: no file {path}"
    functions = {node.name for node in ast.parse(file.read_text()).body if isinstance(node, ast.FunctionDef)}
    return "" if name in functions else f"{row[0]}: no test {name} in {path}"


def test_every_row_has_its_test(root: Path, page: str) -> None:
    found = rows(page)
    assert len(found) > 20
    assert [fault for row in found if (fault := missing(root, row))] == []


def test_every_dependency_has_a_section(page: str) -> None:
    for dependency in ("PostgreSQL", "MLflow", "Langfuse", "Disk", "The model"):
        assert any(dependency in line for line in page.splitlines() if line.startswith("## ")), dependency


def test_a_test_that_is_gone_is_found(root: Path) -> None:
    assert missing(root, ["x", "`unit/serving/test_http_api.py::test_that_nobody_wrote`"])
    assert missing(root, ["x", "`unit/serving/test_nothing.py::test_x`"])
