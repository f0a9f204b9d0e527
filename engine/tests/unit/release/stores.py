"""The artifact stores that have to keep the same contract."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import pytest

from sluice.release.artifact_store import ArtifactStore, open_artifact_store
from unit.release.buckets import bucket_server

# What an extra that opens artifact stores has in its tests: `store_under_test`.
OF_EXTRAS = {
    path.parent.name: import_module(f"unit.extras.{path.parent.name}.stores")
    for path in sorted(Path(__file__).parents[1].glob("extras/*/stores.py"))
}
KINDS = ("folder", "bucket", *OF_EXTRAS)


@dataclass(frozen=True)
class StoreUnderTest:
    address: str

    def open(self) -> ArtifactStore:
        return open_artifact_store(self.address)

    def spoil(self, digest: str, content: bytes | None) -> None:
        """Replace or remove a file behind the store's back."""
        import boto3

        where = {"Bucket": "artefacts", "Key": f"sluice/sha256/{digest}"}
        client = boto3.client("s3")
        client.delete_object(**where) if content is None else client.put_object(**where, Body=content)

    def collect_garbage(self) -> None: ...


class FolderUnderTest(StoreUnderTest):
    def spoil(self, digest: str, content: bytes | None) -> None:
        path = Path(self.address, "sha256", digest)
        path.unlink() if content is None else path.write_bytes(content)


@contextmanager
def store_under_test(kind: str, folder: Path) -> Iterator[StoreUnderTest]:
    if kind == "folder":
        yield FolderUnderTest(str(folder / "place"))
    elif kind == "bucket":
        with bucket_server() as address:
            yield StoreUnderTest(address)
    else:
        with OF_EXTRAS[kind].store_under_test(folder / "server") as store:
            yield store


@pytest.fixture(params=KINDS)
def shared(request: pytest.FixtureRequest, tmp_path: Path, loopback: None) -> Iterator[StoreUnderTest]:  # noqa: ARG001
    with store_under_test(request.param, tmp_path) as store:
        yield store
