"""A real OCI registry with a real bare repository of git, for the tests of all artifact stores."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sluice.release.artifact_store import ArtifactStore, open_artifact_store
from unit.extras.registry.registries import RegistryServer, bare_repository, registry_server


@dataclass(frozen=True)
class RegistryUnderTest:
    """What `StoreUnderTest` has, which this module cannot import: that one imports it."""

    server: RegistryServer

    @property
    def address(self) -> str:
        return self.server.address

    def open(self) -> ArtifactStore:
        return open_artifact_store(self.address)

    def beside(self, name: str) -> str:
        return self.server.named(f"app-{name}").address

    def spoil(self, digest: str, content: bytes | None) -> None:
        self.server.unlink(digest) if content is None else self.server.blob(digest).write_bytes(content)

    def collect_garbage(self) -> None:
        self.server.collect_garbage()


@contextmanager
def store_under_test(folder: Path) -> Iterator[RegistryUnderTest]:
    with registry_server(folder) as server:
        yield RegistryUnderTest(server)


def record_address(folder: Path) -> str:
    """A store for its record alone: the registry has no part in that, and none is there."""
    return f"oci://127.0.0.1:9/app#{bare_repository(folder / 'record.git')}"
