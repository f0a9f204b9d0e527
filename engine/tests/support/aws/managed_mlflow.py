"""SageMaker's managed MLflow: the real MLflow server behind what AWS puts in front of it.

Each request is signed for the service `sagemaker-mlflow` and names the ARN of its tracking server, as the plugin
sagemaker-mlflow 0.5.0 sends it (auth.py, mlflow_sagemaker_request_header_provider.py); botocore computes the signature
again, and what does not match is refused with 403 as AWS does. Files are put into S3 by the clients.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

import httpx
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from support.local_server import QuietHandler, local_server

ARN = "arn:aws:sagemaker:eu-west-1:123456789012:mlflow-tracking-server/assistant"
_ARN_HEADER = "x-mlflow-sm-tracking-server-arn"
_SIGNED = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(\S+)/(\d{8})/([\w-]+)/([\w-]+)/aws4_request, SignedHeaders=(\S+), Signature=(\w+)"
)
_KEY = Credentials("testing", "testing")  # of every account that moto plays


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
        _, day, region, service, names, signature = signed.groups()
        if (region, service) != ("eu-west-1", "sagemaker-mlflow"):
            return f"signed for {service} in {region}"
        if self.headers.get(_ARN_HEADER) != ARN or _ARN_HEADER not in names.split(";"):
            return f"signed without the server: {names}"
        if self.headers["X-Amz-Content-SHA256"] != hashlib.sha256(body).hexdigest():
            return "another body than was signed"
        headers = {name: self.headers[name] for name in names.split(";")}
        url = f"http://{self.headers['Host']}{self.path}"
        request = AWSRequest(method=self.command, url=url, data=body, headers=headers)
        request.context["timestamp"] = self.headers["X-Amz-Date"]
        auth = SigV4Auth(_KEY, service, region)
        expected = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
        return "" if (expected, self.headers["X-Amz-Date"][:8]) == (signature, day) else "the signature is another one"


@contextmanager
def managed(server_url: str) -> Iterator[type[ManagedMlflow]]:

    class FrontDoor(ManagedMlflow):
        asked: ClassVar = []
        refused: ClassVar = []

    FrontDoor.server_url = server_url
    with local_server(FrontDoor) as FrontDoor.address:
        yield FrontDoor
