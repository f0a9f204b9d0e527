"""SageMaker's managed MLflow: the real MLflow server behind what AWS puts in front of it.

Each request is signed for the service `sagemaker-mlflow` and names the ARN of its tracking server, as the plugin
sagemaker-mlflow 0.5.0 sends it (auth.py, mlflow_sagemaker_request_header_provider.py); another one is refused with 403
as AWS does. The signature itself is botocore's, and not computed again. Files are put into S3 by the clients.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import ClassVar

import httpx

from support.local_server import QuietHandler, local_server

ARN = "arn:aws:sagemaker:eu-west-1:123456789012:mlflow-tracking-server/assistant"
_ARN_HEADER = "x-mlflow-sm-tracking-server-arn"
_SIGNED = re.compile(
    r"AWS4-HMAC-SHA256 Credential=testing/\d{8}/(?P<scope>[\w/-]+)/aws4_request, "
    r"SignedHeaders=(?P<names>\S+), Signature=\w+"
)


class ManagedMlflow(QuietHandler):
    """`asked`: (method, path) of each request that was let in; `refused`: the reasons of those that were not."""

    protocol_version = "HTTP/1.1"
    server_url = ""
    address = ""
    asked: ClassVar[list[tuple[str, str]]]
    refused: ClassVar[list[str]]

    def _answer(self) -> None:
        body = self.body
        if fault := self._fault(body):
            self.refused.append(fault)
            return self.reply(403, b'{"message": "User is not authorized"}')
        self.asked.append((self.command, self.path.partition("?")[0]))
        kept = {name: value for name, value in self.headers.items() if name.lower() == "content-type"}
        answer = httpx.request(
            self.command, self.server_url + self.path, content=body, headers=kept, timeout=120, trust_env=False
        )
        return self.reply(answer.status_code, answer.content)

    do_GET = do_POST = do_PATCH = do_DELETE = _answer

    def _fault(self, body: bytes) -> str:
        """Return why AWS would refuse the request, or an empty text."""
        signed = _SIGNED.fullmatch(self.headers.get("Authorization", ""))
        if not signed:
            return "not signed"
        if signed["scope"] != "eu-west-1/sagemaker-mlflow":
            return f"signed for {signed['scope']}"
        if self.headers.get(_ARN_HEADER) != ARN or _ARN_HEADER not in signed["names"].split(";"):
            return f"signed without the server: {signed['names']}"
        return (
            "" if self.headers["X-Amz-Content-SHA256"] == sha256(body).hexdigest() else "another body than was signed"
        )


@contextmanager
def managed(server_url: str) -> Iterator[type[ManagedMlflow]]:

    class FrontDoor(ManagedMlflow):
        asked: ClassVar = []
        refused: ClassVar = []

    FrontDoor.server_url = server_url
    with local_server(FrontDoor) as FrontDoor.address:
        yield FrontDoor
