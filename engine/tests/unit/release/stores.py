"""The artifact stores that have to keep the same contract."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import pytest

from sluice.release.artifact_store import ArtifactStore, open_artifact_store
from support.local_server import in_thread

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
def bucket_server() -> Iterator[str]:
    """Serve `s3://bucket/prefix` by moto, where boto3 finds it by the environment.

    It answers one request at a time: moto checks if an object exists and makes it in two steps, and S3 promises of
    `If-None-Match` that nothing comes between them."""
    import boto3
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    server = make_server("127.0.0.1", 0, DomainDispatcherApplication(create_backend_app), threaded=False)
    with in_thread(server), pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        environment.setenv("AWS_DEFAULT_REGION", "us-east-1")
        environment.setenv("AWS_ACCESS_KEY_ID", "testing")
        environment.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        client = boto3.client("s3")
        client.create_bucket(Bucket="artefacts")
        try:
            yield "s3://artefacts/sluice"
        finally:
            for one in client.list_objects_v2(Bucket="artefacts").get("Contents", ()):
                client.delete_object(Bucket="artefacts", Key=one["Key"])  # moto keeps them for the whole process


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
