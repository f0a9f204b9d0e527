"""What a run of the tests leaves in the summary of its job on GitHub."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]


def test_counts_what_is_broken_and_what_was_left_out(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    soak: x\n    image: x\n    e2e: x\n    real: x\n")
    (tmp_path / "test_one.py").write_text(
        "import pytest\ndef test_a(): pass\ndef test_b(): assert 1 == 2, '`x` | y'\n"
        "@pytest.mark.skip(reason='no promtool')\ndef test_c(): pass\n@pytest.fixture\ndef f(): raise ValueError('z')\n"
        "def test_d(f): pass\n"
    )
    path = tmp_path / "summary.md"
    env = os.environ | {
        "GITHUB_STEP_SUMMARY": str(path),
        "PYTHONPATH": os.pathsep.join([str(TESTS.parent / "src"), str(TESTS)]),
    }
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "conftest",
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
