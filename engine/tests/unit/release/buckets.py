"""A bucket of this machine, served by moto."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def bucket_server() -> Iterator[str]:
    """`s3://bucket/prefix` in a server that boto3 finds by the environment.

    It answers one request at a time: moto checks if an object exists and makes it in two steps, and S3 promises of
    `If-None-Match` that nothing comes between them."""
    import boto3
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    server = make_server("127.0.0.1", 0, DomainDispatcherApplication(create_backend_app), threaded=False)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    with pytest.MonkeyPatch.context() as environment:
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
            server.shutdown()
            thread.join()
            server.server_close()
