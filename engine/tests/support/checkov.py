"""checkov, which `make test` installs beside the environment: its report of a folder."""

import json
import os
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest

CHECKOV = Path(sys.prefix) / "scan" / "bin" / "checkov"
MARKS = [
    pytest.mark.real,
    pytest.mark.skipif(not CHECKOV.exists() and not os.environ.get("CI"), reason="checkov is missing: run `make test`"),
]


def report(framework: str, folder: Path, leave_out: Collection[str] = ()) -> dict[str, Any]:
    """What it says of the files of one kind, without the rules that are left out."""
    words = [str(CHECKOV), "--skip-download", "--compact", "--framework", framework, "--output", "json"]
    words += ["--skip-check", ",".join(leave_out)] if leave_out else []
    done = subprocess.run([*words, "--directory", str(folder)], capture_output=True, text=True, timeout=280)
    assert done.returncode in (0, 1), done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found
