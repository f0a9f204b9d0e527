"""Pages that are written from the code say what the code says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("script", "page"),
    [
        ("engine/scripts/write_workflow_reference.py", "engine/docs/reference/workflows.md"),
        ("engine/scripts/write_metrics_reference.py", "engine/docs/reference/metrics.md"),
        ("engine/scripts/write_schemas.py", "engine/schemas/prompt.schema.json"),
    ],
)
def test_a_written_file_is_up_to_date(root: Path, tmp_path: Path, script: str, page: str) -> None:
    subprocess.run([sys.executable, root / script, tmp_path], cwd=root, check=True)
    written = (tmp_path / Path(page).name).read_text()
    assert (root / page).read_text() == written, f"{page} is out of date, run: .venv/bin/python {script}"
