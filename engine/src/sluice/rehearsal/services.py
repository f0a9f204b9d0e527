"""Two releases as processes on this machine, and a real Traefik between them and visitors.

Traefik's access log names the service that answered each `X-Request-Id`, so a failure is charged to its release.
There is no retry, which would hide the canary's failures. Idle connections are dropped before a service drops them
(often after 5 s); a request sent just then would end in a 502 that no release is to blame for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sluice.core import processes
from sluice.core.atomic_files import write_atomic
from sluice.core.errors import SluiceError
from sluice.rollout.chat_stream import REQUEST_ID, request

READY_SECONDS = 300.0
# As terminationGracePeriodSeconds in k8s/base/rollout.yaml, less what nobody waits for on a laptop.
DRAIN_SECONDS = 30.0
_SERVICE = "release"
_START_SECONDS = 120.0
_SWITCH_SECONDS = 60.0
_IDLE = "2s"


@dataclass(frozen=True)
class ReleaseServiceSpec:
    """The command that starts a release: `{port}` in `argv` is replaced by a free loopback port."""

    release: str
    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)


class ReleaseService:
    """A started release; its log is named by its role."""

    def __init__(self, role: str, spec: ReleaseServiceSpec, *, state: Path) -> None:
        self.role, self.release = role, spec.release
        port = processes.free_port()
        self.url = f"http://127.0.0.1:{port}"
        argv = [part.replace("{port}", str(port)) for part in spec.argv]
        self.child = processes.start(role, argv, state=state, env=spec.env)

    def wait_ready(self, seconds: float = READY_SECONDS) -> None:
        """Wait for /readyz. SluiceError with the end of the log if the process ends or time is up."""
        if not processes.wait_until(self._ready, seconds=seconds):
            what = f"was not ready after {seconds:.0f} s"
            raise SluiceError(f"{self.role} {self.release} {what}; its log ends:\n{self.child.tail()}")

    def require_running(self) -> None:
        if not self.child.running:
            what = f"ended with status {self.child.process.poll()}"
            raise SluiceError(f"{self.role} {self.release} {what}; its log ends:\n{self.child.tail()}")

    def stop(self) -> None:
        self.child.stop(DRAIN_SECONDS)

    def _ready(self) -> bool:
        self.require_running()
        try:
            return request(f"{self.url}/readyz", timeout=2).status_code == 200
        except OSError:
            return False


class TraefikRouter:
    """Traefik with one entry point, splitting visitors between two base URLs; the canary starts at weight 0."""

    def __init__(self, *, stable: str, canary: str, state: Path) -> None:
        self._urls = {"stable": stable, "canary": canary}
        self._folder = state / "router"
        self._dynamic = self._folder / "dynamic.yml"
        self._access_log = self._folder / "access.log"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._access_log.unlink(missing_ok=True)
        self.port, self._api_port = processes.free_port(), processes.free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.weight = 0
        self._write(0)
        argv = [
            str(processes.program("traefik")),
            f"--entryPoints.web.address=127.0.0.1:{self.port}",
            f"--entryPoints.traefik.address=127.0.0.1:{self._api_port}",
            "--entryPoints.web.transport.lifeCycle.graceTimeOut=10s",
            "--api.insecure=true",  # on the loopback port above only
            "--api.dashboard=false",
            f"--providers.file.filename={self._dynamic}",
            "--providers.file.watch=true",
            "--providers.providersThrottleDuration=50ms",
            "--global.checkNewVersion=false",
            "--global.sendAnonymousUsage=false",
            "--log.level=WARN",
            "--log.noColor=true",
            f"--accessLog.filePath={self._access_log}",
            "--accessLog.format=json",
            "--accessLog.fields.headers.defaultMode=drop",
            f"--accessLog.fields.headers.names.{REQUEST_ID}=keep",
        ]
        self.child = processes.start("router", argv, state=state)
        try:
            if not processes.wait_until(lambda: self._serves(0), seconds=_START_SECONDS, every=0.05):
                raise SluiceError(f"the router did not come up in {_START_SECONDS:.0f} s:\n{self.child.tail()}")
        except BaseException:
            self.stop()
            raise

    def __enter__(self) -> TraefikRouter:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def set_weight(self, percent: int) -> None:
        """Give the canary `percent` of new requests; returns once Traefik itself reports the weight."""
        if not 0 <= percent <= 100:
            raise ValueError(f"a weight is 0 to 100 percent, found {percent}")
        self._write(percent)
        if not processes.wait_until(lambda: self._serves(percent), seconds=_SWITCH_SECONDS, every=0.02):
            raise SluiceError(
                f"the router did not take weight {percent} in {_SWITCH_SECONDS:.0f} s:\n{self.child.tail()}"
            )
        self.weight = percent

    def served_by(self) -> dict[str, str]:
        """Return `stable` or `canary` by request id, for each finished request that carried one."""
        found: dict[str, str] = {}
        text = self._access_log.read_text(errors="replace") if self._access_log.exists() else ""
        for line in text.splitlines():
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:
                continue  # the last line of a router that was killed while writing
            if (request := entry.get(f"request_{REQUEST_ID}")) and (service := entry.get("ServiceName")):
                found[str(request)] = str(service).removesuffix("@file")
        return found

    def stop(self) -> None:
        self.child.stop()

    def _write(self, percent: int) -> None:
        services: dict[str, Any] = {
            name: {"loadBalancer": {"serversTransport": "backend", "servers": [{"url": url}]}}
            for name, url in self._urls.items()
        }
        weights = [{"name": "stable", "weight": 100 - percent}, {"name": "canary", "weight": percent}]
        services[_SERVICE] = {"weighted": {"services": weights}}
        http = {
            "routers": {"visitors": {"rule": "PathPrefix(`/`)", "entryPoints": ["web"], "service": _SERVICE}},
            "services": services,
            "serversTransports": {"backend": {"forwardingTimeouts": {"idleConnTimeout": _IDLE}}},
        }
        write_atomic(self._dynamic, json.dumps({"http": http}, indent=2))  # JSON is YAML

    def _serves(self, percent: int) -> bool:
        if not self.child.running:
            raise SluiceError(f"the router ended with status {self.child.process.poll()}:\n{self.child.tail()}")
        try:
            answer = request(f"http://127.0.0.1:{self._api_port}/api/http/services/{_SERVICE}@file", timeout=2)
            services = answer.json()["weighted"]["services"] if answer.status_code == 200 else []
        except (OSError, ValueError, KeyError):
            return False
        weights = {entry["name"]: entry.get("weight", 1) for entry in services}
        return bool(weights == {"stable": 100 - percent, "canary": percent})
