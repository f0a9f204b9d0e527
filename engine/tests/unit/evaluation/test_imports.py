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


def heavy_imports(module: str) -> list[str]:
    """The heavy libraries that importing a module brings."""
    code = f"import sys, {module}; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()


def test_the_command_line_imports_nothing_heavy_before_it_is_needed() -> None:
    assert heavy_imports("sluice.cli") == []
