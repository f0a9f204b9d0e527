"""The scripted release as a process of its own, for tests that need a real socket or a signal."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import httpx

from sluice.core.processes import free_port, wait_until

ROOT = Path(__file__).parents[4]
FAST = "ScriptedChat(script=REPLIES)"


class Service:
    """A child process that serves; `chat` and `settings` are the arguments of `run_service`, as Python text; `of` is
    its module."""

    def __init__(self, chat: str = FAST, settings: str = "", *, of: str = "support.serving.fakes") -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        code = f"from {of} import *; run_service({self.port}, {chat}, {settings})"
        path = os.pathsep.join([str(ROOT / "engine" / "src"), str(ROOT / "engine" / "tests")])
        self.process = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path})
        assert wait_until(lambda: self.status("/readyz") == 200 or self.process.poll() is not None, seconds=180)

    def status(self, path: str) -> int:
        try:
            return httpx.get(self.url + path, timeout=2, trust_env=False).status_code
        except httpx.TransportError:
            return 0

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
