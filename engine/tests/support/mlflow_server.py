"""An MLflow tracking server as a process of its own, on SQLite; the real one, of the installed version."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from sluice.core.processes import free_port, wait_until


class MlflowServer:
    """`kill` leaves what it has stored; `start` takes it up again."""

    def __init__(self, folder: Path, artifacts: str = "") -> None:
        """`artifacts`: where clients put files by themselves; without it the server takes them."""
        self.folder = folder
        self._artifacts = artifacts
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._server: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        if self._server:
            return
        places = [f"--backend-store-uri=sqlite:///{self.folder / 'mlflow.db'}"]
        if self._artifacts:
            places += [f"--default-artifact-root={self._artifacts}", "--no-serve-artifacts"]
        else:
            places.append(f"--artifacts-destination={self.folder / 'artifacts'}")
        program = Path(sys.executable).with_name("mlflow")
        argv = [program, "server", *places, "--host=127.0.0.1", f"--port={self._port}", "--workers=1"]
        environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        environment.pop("MLFLOW_TRACKING_URI", None)
        with (self.folder / "log").open("a") as log:
            self._server = subprocess.Popen(argv, env=environment, stdout=log, stderr=log, start_new_session=True)
        assert wait_until(self._healthy, seconds=900), (self.folder / "log").read_text()

    def kill(self, sent: signal.Signals = signal.SIGKILL) -> None:
        if self._server:
            os.killpg(self._server.pid, sent)
            self._server.wait(60)
            self._server = None

    def _healthy(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health", timeout=2, trust_env=False).status_code == 200
        except httpx.TransportError:
            return False


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    server = MlflowServer(tmp_path_factory.mktemp("mlflow"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def server(running: MlflowServer, monkeypatch: pytest.MonkeyPatch) -> MlflowServer:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", running.url)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # where it is dead, one attempt says so
    running.start()
    return running


def client_of(server: MlflowServer) -> Any:
    import mlflow

    return mlflow.MlflowClient(tracking_uri=server.url, registry_uri=server.url)
