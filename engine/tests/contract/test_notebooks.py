"""Notebooks are stored as they were written: without outputs, which hold data and grow, and without traces of a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

KERNEL = "python3"  # every Jupyter has it; a name of one machine would be asked for on all others


def faults_of(book: dict[str, Any]) -> list[str]:
    """What is stored beside the cells' text."""
    code = [(number, cell) for number, cell in enumerate(book["cells"]) if cell["cell_type"] == "code"]
    faults = [f"cell {number}: has outputs" for number, cell in code if cell["outputs"]]
    faults += [f"cell {number}: has an execution count" for number, cell in code if cell["execution_count"] is not None]
    faults += [f"cell {number}: has {key}" for number, cell in code for key in cell["metadata"] if key != "tags"]
    if sum("parameters" in cell["metadata"].get("tags", ()) for _, cell in code) != 1:
        faults.append("not one cell with the tag `parameters`")
    if (kernel := book["metadata"].get("kernelspec", {}).get("name")) != KERNEL:
        faults.append(f"its kernel is {kernel}, not {KERNEL}")
    return faults


def test_every_notebook_is_stored_without_traces_of_a_run(root: Path, tracked: list[str]) -> None:
    books = [name for name in tracked if name.endswith(".ipynb")]
    assert books
    assert {name: faults_of(json.loads((root / name).read_text())) for name in books} == {name: [] for name in books}
