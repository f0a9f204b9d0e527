"""Runs two releases of the service as processes on this machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sluice.core import processes
from sluice.core.errors import SluiceError
from sluice.rollout.local_http import request

READY_SECONDS = 300.0
# As terminationGracePeriodSeconds in k8s/base/rollout.yaml, less what nobody waits for on a laptop.
DRAIN_SECONDS = 30.0


@dataclass(frozen=True)
class ReleaseServiceSpec:
    """How to start a release: `{port}` in `argv` is replaced by a free loopback port."""

    release: str
    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)


class ReleaseService:
    """A started release; `role` (stable, canary) names its log."""

    def __init__(self, role: str, spec: ReleaseServiceSpec, *, state: Path) -> None:
        self.role, self.release = role, spec.release
        port = processes.free_port()
        self.url = f"http://127.0.0.1:{port}"
        argv = [part.replace("{port}", str(port)) for part in spec.argv]
        self.child = processes.start(role, argv, state=state, env=spec.env)

    def wait_ready(self, seconds: float = READY_SECONDS) -> None:
        """Returns when /readyz answers 200; SluiceError with the end of the log when the process ends or time is up."""
        if not processes.wait_until(self._ready, seconds=seconds):
            raise SluiceError(
                f"{self.role} {self.release} was not ready after {seconds:.0f} s; its log ends:\n{self.tail()}"
            )

    def require_running(self) -> None:
        """SluiceError with the end of the log when the process has ended."""
        if not self.child.running:
            status = self.child.process.poll()
            raise SluiceError(f"{self.role} {self.release} ended with status {status}; its log ends:\n{self.tail()}")

    def tail(self) -> str:
        return self.child.tail()

    def stop(self) -> None:
        """SIGTERM; the service finishes what it began, at most DRAIN_SECONDS."""
        self.child.stop(DRAIN_SECONDS)

    def _ready(self) -> bool:
        self.require_running()
        try:
            return request(f"{self.url}/readyz", timeout=2).status_code == 200
        except OSError:
            return False
