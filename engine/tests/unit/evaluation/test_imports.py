"""What a run of prompts imports: it is quick because heavy libraries are not touched."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = [
    "aiohttp",
    "guardrails",
    "httpx",
    "langchain_core",
    "mlflow",
    "numpy",
    "pandas",
    "psycopg",
    "rich",
    "torch",
    "xllamacpp",
]


@pytest.mark.parametrize("module", ["sluice.evaluation.prompt_report", "sluice.cli"])
def test_nothing_heavy_is_imported_before_it_is_needed(module: str) -> None:
    code = f"import sys, {module}; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
