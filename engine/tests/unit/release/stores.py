"""The artifact stores that have to keep the same contract: a folder, a bucket served by moto, and a real OCI registry
with a real bare repository of git."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from sluice.release.artifact_store import ArtifactStore, open_artifact_store
from unit.release.buckets import bucket_server
from unit.release.registries import RegistryServer, registry_server

KINDS = ("folder", "bucket", "registry")


@dataclass(frozen=True)
class StoreUnderTest:
    """`address`: of the store; the rest reaches behind it."""

    address: str
    folder: Path | None = None
    registry: RegistryServer | None = None

    def open(self) -> ArtifactStore:
        """As another machine does."""
        return open_artifact_store(self.address)

    def spoil(self, digest: str, content: bytes | None) -> None:
        """Replaces the content of a file behind the store's back, or takes the file away."""
        if self.registry and content is None:
            self.registry.unlink(digest)
        elif self.registry or self.folder:
            path = self.registry.blob(digest) if self.registry else Path(str(self.folder), "sha256", digest)
            path.unlink() if content is None else path.write_bytes(content)
        else:
            import boto3

            where = {"Bucket": "artefacts", "Key": f"sluice/sha256/{digest}"}
            client = boto3.client("s3")
            client.delete_object(**where) if content is None else client.put_object(**where, Body=content)


@contextmanager
def store_under_test(kind: str, folder: Path) -> Iterator[StoreUnderTest]:
    """Opens one of KINDS; a registry is skipped where there is none."""
    if kind == "folder":
        yield StoreUnderTest(str(folder / "place"), folder=folder / "place")
    elif kind == "bucket":
        with bucket_server() as address:
            yield StoreUnderTest(address)
    else:
        with registry_server(folder / "server") as server:
            yield StoreUnderTest(server.address, registry=server)


@pytest.fixture(params=KINDS)
def shared(request: pytest.FixtureRequest, tmp_path: Path, loopback: None) -> Iterator[StoreUnderTest]:  # noqa: ARG001
    """Each of the stores in turn."""
    with store_under_test(request.param, tmp_path) as store:
        yield store
