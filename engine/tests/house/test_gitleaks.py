"""What .gitleaks.toml lets pass is what is there, and no more.

gitleaks itself is no part of the set-up: a fork's scanner reads the file."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from sluice.core.extras import extras

FOUND = {"engine/schemas/cluster/sources.yaml": "external-secrets.io_externalsecrets.yaml: "}
OF_FINETUNE = {"engine/tests/unit/extras/finetune/test_checkpoints.py": "KEY = "}  # without it, in the history alone


def test_each_entry_is_of_one_line_that_a_scanner_reports(root: Path) -> None:
    document = tomllib.loads((root / ".gitleaks.toml").read_text())
    assert document["extend"] == {"useDefault": True}
    assert {one["regexTarget"] for one in document["allowlists"]} == {"line"}
    patterns = [re.compile(pattern) for one in document["allowlists"] for pattern in one["regexes"]]
    there = FOUND | OF_FINETUNE if "finetune" in extras() else FOUND
    for name, begins in there.items():
        lines = (root / name).read_text().splitlines()
        passed = [line for line in lines if any(pattern.search(line) for pattern in patterns)]
        assert [begins in line for line in passed] == [True]
    assert len(patterns) == len(FOUND | OF_FINETUNE)


def test_other_values_are_still_reported(root: Path) -> None:
    patterns = [
        re.compile(pattern)
        for one in tomllib.loads((root / ".gitleaks.toml").read_text())["allowlists"]
        for pattern in one["regexes"]
    ]
    for line in ('KEY = "' + "0f" * 16 + '"', "external-secrets: " + "0f" * 32, 'KEY = "0123456789abcdef" + rest'):
        assert not any(pattern.search(line) for pattern in patterns)
