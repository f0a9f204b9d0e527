"""The pytest plugin in a run of its own."""

import os
import subprocess
import sys
from pathlib import Path

from sluice.core.processes import free_port

ENGINE = Path(__file__).resolve().parents[3]
SOURCE = ENGINE / "src"


def run(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    (folder / "pytest.ini").write_text("[pytest]\n")
    outer = {name: value for name, value in os.environ.items() if name != "TMPDIR"}
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "sluice.testing.plugin", "-p", "no:cacheprovider", *words, "."]
    env = outer | {"PYTHONPATH": f"{SOURCE}{os.pathsep}{ENGINE / 'tests'}"} | environment
    return subprocess.run(argv, cwd=folder, env=env, capture_output=True, text=True, check=False)


CLOSED = """
import socket

def test_swallowed():
    try:
        socket.create_connection(("192.0.2.1", 9), timeout=1)
    except BaseException:
        pass

def test_this_machine(loopback):
    try:
        socket.create_connection(("127.0.0.1", {port}), timeout=60)
    except ConnectionRefusedError:
        pass
"""


def test_counts_what_is_broken_and_a_swallowed_refusal_of_the_network_is(tmp_path: Path) -> None:
    (tmp_path / "test_net.py").write_text(CLOSED.format(port=free_port()))
    (tmp_path / "test_one.py").write_text(
        "import pytest\ndef test_a(): pass\ndef test_b(): assert 1 == 2, '`x` | y'\n"
        "@pytest.mark.skip(reason='no promtool')\ndef test_c(): pass\n@pytest.fixture\ndef f(): raise ValueError('z')\n"
        "def test_d(f): pass\n"
    )
    path = tmp_path / "summary.md"
    done = run(tmp_path, f"--basetemp={tmp_path}/t", GITHUB_STEP_SUMMARY=str(path))
    assert done.returncode == 1, done.stdout + done.stderr
    shown = path.read_text()
    for row in ("| `passed` | `3` |", "| `failed` | `1` |", "| `error` | `2` |", "| `skipped` | `1` |"):
        assert row in shown
    assert "| `test_one.py::test_b` | `" in shown
    assert "| `test_one.py::test_d` | `" in shown
    assert "| `Skipped: no promtool` |" in shown
    assert "the test reached for the network: look up '192.0.2.1'" in done.stdout


HEAVY = {"aiohttp", "guardrails", "httpx", "langchain_core", "mlflow", "numpy", "pandas", "psycopg", "rich", "torch"}


def test_the_command_line_imports_nothing_before_it_is_needed() -> None:
    code = "import sys, sluice.cli, sluice.extras.prompt_tests.prompt_terminal; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (HEAVY | {"xllamacpp"}).isdisjoint(done.stdout.split())
