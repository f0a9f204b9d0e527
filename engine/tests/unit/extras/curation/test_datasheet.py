"""The datasheet says what the data is, in numbers that are counted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from sluice.data.contract import data_digest
from sluice.data.data_policy import DataPolicy, PrivacyPolicy
from sluice.extras.curation.datasheet import card


def test_it_counts_what_is_there(folder: Path) -> None:
    source = {"file": "q.csv", "sha256": "a" * 64, "rows": 2, "licence": "MIT", "source": "a | b"}
    (folder / "sources.jsonl").write_text(json.dumps(source))
    page = card(folder, DataPolicy())
    assert f"`{data_digest(folder)}`" in page
    for line in (
        "| documents | 3 |  | 13, 14, 14 |",
        "| train questions | 3 | 1 | 5, 5, 6 |",
        "| eval questions | 2 | 1 | 5, 5.5, 6 |",
        "| sea | 0 | 1 |",
        "| unanswerable | 1 | 0 |",
        "| CC0-1.0 | tests | 3 documents |",
        "| MIT | a \\| b | 2 rows of q.csv |",
        "| email | refused here, replaced by importers |",
        "Faults that the contract finds: 0.",
    ):
        assert line in page, page


def test_faults_and_the_policy_are_told(folder: Path, add_row: Callable[..., None]) -> None:
    add_row("train.jsonl", question=" ")
    page = card(folder, DataPolicy(privacy=PrivacyPolicy(phone="allow")))
    assert "Faults that the contract finds: 1." in page
    assert "| phone | not looked for |" in page
