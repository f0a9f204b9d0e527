"""Where rows came from is part of the data, and kept to the contract as the rest."""

from __future__ import annotations

import json
from pathlib import Path

from sluice.data.contract import check

SOURCE = {"file": "q.csv", "sha256": "a" * 64, "rows": 3, "licence": "CC0-1.0", "source": "tests"}


def test_a_line_without_a_licence_is_told_with_its_place(folder: Path) -> None:
    lines = [SOURCE, SOURCE | {"licence": ""}, {key: SOURCE[key] for key in SOURCE if key != "source"}]
    (folder / "sources.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + "{\n")
    found = [str(fault).removeprefix(f"{folder}/") for fault in check(folder).faults]
    assert [fault.partition(": ")[0] for fault in found] == [f"sources.jsonl:{number}" for number in (2, 3, 4)]
    assert "licence: String should have at least 1 character" in found[0]
    assert "key 'source' is missing" in found[1]
