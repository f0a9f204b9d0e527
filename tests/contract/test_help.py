"""Pages that are written from the code say what the code says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("script", "page"),
    [
        ("scripts/write_cli_reference.py", "docs/reference/cli.md"),
        ("scripts/write_workflow_reference.py", "docs/reference/workflows.md"),
        ("scripts/write_metrics_reference.py", "docs/reference/metrics.md"),
        ("scripts/write_schemas.py", "schemas/prompt.schema.json"),
    ],
)
def test_a_written_file_is_up_to_date(root: Path, tmp_path: Path, script: str, page: str) -> None:
    subprocess.run([sys.executable, root / script, tmp_path], cwd=root, check=True)
    written = (tmp_path / Path(page).name).read_text()
    assert (root / page).read_text() == written, f"{page} is out of date, run: .venv/bin/python {script}"
