"""A service as a process of its own, for tests that need a real socket or a signal."""

import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Self

import httpx

from sluice.core.processes import free_port, wait_until

ROOT = Path(__file__).parents[4]
FAST = "ScriptedChat(script=REPLIES)"


class ServiceProcess:
    """A child process that runs `code`, which serves at `port`; it answers when the constructor returns. `log`: the
    file for what it says, else it is said here."""

    def __init__(self, code: str, log: Path | None = None) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        path = os.pathsep.join([str(ROOT / "engine" / "src"), str(ROOT / "engine" / "tests")])
        argv, env = [sys.executable, "-c", f"port = {self.port}\n{code}"], {**os.environ, "PYTHONPATH": path}
        with log.open("wb") if log else nullcontext() as stream:
            self.process = subprocess.Popen(argv, env=env, stdout=stream, stderr=stream)
        wait_until(lambda: self.ready or self.process.poll() is not None, seconds=180)
        if not self.ready:
            self.stop()
            raise AssertionError(f"the service did not start:\n{log.read_text()[-3000:] if log else ''}")

    def status(self, path: str) -> int:
        try:
            return httpx.get(self.url + path, timeout=5, trust_env=False).status_code
        except httpx.TransportError:
            return 0

    @property
    def ready(self) -> bool:
        return self.status("/readyz") == 200

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class Service(ServiceProcess):
    """The scripted release: `chat` and `settings` are the arguments of `run_service` of the module `of`, as Python
    text."""

    def __init__(self, chat: str = FAST, settings: str = "", *, of: str = "support.serving.fakes") -> None:
        super().__init__(f"from {of} import *; run_service(port, {chat}, {settings})")
