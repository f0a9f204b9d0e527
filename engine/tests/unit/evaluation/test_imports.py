"""What a command imports: it is quick because heavy libraries are not touched."""

from __future__ import annotations

import subprocess
import sys

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


def test_the_command_line_imports_nothing_heavy_before_it_is_needed() -> None:
    modules = "sluice.cli, sluice.extras.prompt_tests.prompt_terminal"
    code = f"import sys, {modules}; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
