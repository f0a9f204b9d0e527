"""A real OCI registry and a real bare repository of git on this machine: Debian's `docker-registry` (CNCF Distribution
2.8.3), and git itself."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
import yaml

from sluice.core.processes import free_port, wait_until
from sluice.release.artifact_store import ArtifactStore, open_artifact_store

PROGRAM = shutil.which("docker-registry")
REASON = "docker-registry is not installed (`apt-get install docker-registry`)"


@dataclass(frozen=True)
class RegistryServer:
    """A registry with its files in `data`, and the git repository of its `record`. A `StoreUnderTest`,
    which this module cannot import."""

    port: int
    data: Path
    record: Path
    name: str = "octo/app-artifacts"

    @property
    def address(self) -> str:
        return f"oci://127.0.0.1:{self.port}/{self.name}#{self.record}"

    def open(self) -> ArtifactStore:
        return open_artifact_store(self.address)

    def spoil(self, digest: str, content: bytes | None) -> None:
        self.unlink(digest) if content is None else self.blob(digest).write_bytes(content)

    def blob(self, digest: str) -> Path:
        return self.data / "docker/registry/v2/blobs/sha256" / digest[:2] / digest / "data"

    def unlink(self, digest: str) -> None:
        """As the registry's own garbage collection does with what no manifest names."""
        shutil.rmtree(self.data / "docker/registry/v2/repositories" / self.name / "_layers/sha256" / digest)
        shutil.rmtree(self.blob(digest).parent)

    def collect_garbage(self) -> None:
        words = [str(PROGRAM), "garbage-collect", str(self.data.parent / "registry.yml")]
        subprocess.run(words, check=True, capture_output=True)


def bare_repository(folder: Path) -> Path:
    subprocess.run(["git", "init", "--quiet", "--bare", str(folder)], check=True)
    return folder


@contextmanager
def registry_server(folder: Path, **changed: object) -> Iterator[RegistryServer]:
    """Serve a registry with more of its configuration `changed`, or skip the test if the program is missing."""
    if PROGRAM is None:
        pytest.skip(REASON)
    port = free_port()
    data, config = folder / "registry", folder / "registry.yml"
    data.mkdir(parents=True)
    settings = {
        "version": 0.1,
        "log": {"accesslog": {"disabled": True}, "level": "error"},
        "http": {"addr": f"127.0.0.1:{port}"},
        "storage": {"filesystem": {"rootdirectory": str(data)}, "delete": {"enabled": True}},
        **changed,
    }
    config.write_text(yaml.safe_dump(settings))
    server = RegistryServer(port, data, bare_repository(folder / "record.git"))
    with (folder / "registry.log").open("wb") as log:
        process = subprocess.Popen([PROGRAM, "serve", str(config)], stdout=log, stderr=log)
        try:
            wait_until(lambda: _answers(port) or process.poll() is not None, seconds=250)
            assert process.poll() is None, (folder / "registry.log").read_text()
            assert _answers(port)
            yield server
        finally:
            process.terminate()
            process.wait(60)


store_under_test = registry_server  # by this name the tests of all artifact stores find it


def _answers(port: int) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}/v2/", timeout=10).status_code in (200, 401)
    except requests.ConnectionError:
        return False
