"""The pytest plugin in a run of its own: what it leaves in the summary of a job on GitHub, and what it closes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[4] / "src"


def test_counts_what_is_broken_and_what_was_left_out(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_one.py").write_text(
        "import pytest\ndef test_a(): pass\ndef test_b(): assert 1 == 2, '`x` | y'\n"
        "@pytest.mark.skip(reason='no promtool')\ndef test_c(): pass\n@pytest.fixture\ndef f(): raise ValueError('z')\n"
        "def test_d(f): pass\n"
    )
    path = tmp_path / "summary.md"
    env = os.environ | {
        "GITHUB_STEP_SUMMARY": str(path),
        "PYTHONPATH": str(SOURCE),
    }
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "sluice.testing.plugin",
            "-p",
            "no:cacheprovider",
            f"--basetemp={tmp_path}/t",
            ".",
        ],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    shown = path.read_text()
    for row in ("| `passed` | `1` |", "| `failed` | `1` |", "| `error` | `1` |", "| `skipped` | `1` |"):
        assert row in shown
    assert "| `test_one.py::test_b` | `" in shown
    assert "| `test_one.py::test_d` | `" in shown
    assert "| `Skipped: no promtool` |" in shown
