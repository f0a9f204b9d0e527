"""SageMaker on this machine: moto's server, and in front of it what moto 5.2 does not have or answers differently.

Every call goes on to moto over HTTP, but for these, which are played here:

| call | why |
|---|---|
| ListPipelineExecutionSteps | moto answers 500 |
| DescribePipelineExecution, ListPipelineExecutions | moto says Succeeded at once; a test says what happens |
| ListPipelineExecutions of no pipeline | AWS's reference names ResourceNotFound, moto ValidationException |
| StartPipelineExecution | moto starts a second run for the same ClientRequestToken |
| StopPipelineExecution | moto does not have it |
| DescribeTrainingJob | a job of moto's has ended at once; `jobs` says what is other than there |
| endpoints, components | moto has no UpdateEndpoint, no components, only old machines: `endpoint_service.py` |
| UpdateModelPackage, DescribeModelPackage | moto drops CustomerMetadataProperties |

`refuse` makes any call fail as AWS would refuse it. What is played is held against botocore's model of the answer.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock
from typing import Any

from support.aws.endpoint_service import EndpointService, Refused
from support.aws.service_model import faults, operation
from support.local_server import in_thread, reply

_CHECKED = {"ValidationStatuses": [{"Name": "package", "Status": "Completed"}]}
_HOPS = ("connection", "content-length")
_TIMEOUT = 60
_JSON = "application/x-amz-json-1.1"


@dataclass
class Look:
    """What one look at a run finds: its status and its steps, in SageMaker's words."""

    status: str
    steps: list[dict[str, Any]]
    reason: str = ""


@dataclass
class Played:
    """`looks`: what is found one after the other, the last one ever after. `calls`: what was asked of SageMaker, in
    order. `refuse`: (code, message) by the name of a call."""

    address: str
    moto: tuple[str, int]
    looks: list[Look] = field(default_factory=list)
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    refuse: dict[str, tuple[str, str]] = field(default_factory=dict)
    started: dict[str, bytes] = field(default_factory=dict)
    stopped: list[str] = field(default_factory=list)
    metadata: dict[str, dict[str, str]] = field(default_factory=dict)
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    service: EndpointService = field(default_factory=EndpointService)
    lock: Lock = field(default_factory=Lock)

    def count(self, call: str) -> int:
        return sum(name == call for name, _ in self.calls)

    def asked(self, call: str) -> list[dict[str, Any]]:
        return [body for name, body in self.calls if name == call]

    def look(self) -> Look:
        if self.stopped:
            return Look("Stopped", self.looks[0].steps)
        return self.looks[0]

    def plays(self, call: str) -> bool:
        return self.service.plays(call) or hasattr(self, f"_{call}")

    def play(self, call: str, body: dict[str, Any], forward: Any) -> bytes:
        if self.service.plays(call):
            try:
                answer: Any = self.service.play(call, body)
            except Refused as refused:
                code, message = refused.args
                return json.dumps({"__type": code, "message": message}).encode()
        else:
            answer = getattr(self, f"_{call}")(body, forward)
        if isinstance(answer, bytes):
            return answer
        if "__type" not in answer:
            found = faults(operation("sagemaker", call).output_shape, answer, call)
            assert not found, found
        return json.dumps(answer).encode()

    def _StartPipelineExecution(self, body: dict[str, Any], forward: Any) -> bytes:  # noqa: N802
        token = body["ClientRequestToken"]
        assert 32 <= len(token) <= 128
        if token not in self.started:
            self.started[token] = forward()
        return self.started[token]

    def _ListPipelineExecutions(self, body: dict[str, Any], forward: Any) -> Any:  # noqa: ARG002, N802
        answer = json.loads(forward())
        if "Could not find pipeline" in str(answer):
            return {"__type": "ResourceNotFound", "message": "there is no such pipeline"}
        newest = len(answer.get("PipelineExecutionSummaries", ())) - 1
        for number, one in enumerate(answer.get("PipelineExecutionSummaries", ())):
            one["PipelineExecutionStatus"] = self.look().status if number == newest else "Failed"
            one["StartTime"] += number  # moto starts them within a second
        return answer

    def _DescribePipelineExecution(self, body: dict[str, Any], forward: Any) -> Any:  # noqa: ARG002, N802
        look = self.look()
        return {
            "PipelineExecutionArn": body["PipelineExecutionArn"],
            "PipelineExecutionStatus": look.status,
            "FailureReason": look.reason,
        }

    def _ListPipelineExecutionSteps(self, body: dict[str, Any], forward: Any) -> Any:  # noqa: ARG002, N802
        look = self.look()
        if len(self.looks) > 1:
            self.looks.pop(0)
        return {"PipelineExecutionSteps": look.steps}

    def _StopPipelineExecution(self, body: dict[str, Any], forward: Any) -> Any:  # noqa: ARG002, N802
        self.stopped.append(body["PipelineExecutionArn"])
        return {"PipelineExecutionArn": body["PipelineExecutionArn"]}

    def _DescribeTrainingJob(self, body: dict[str, Any], forward: Any) -> bytes:  # noqa: N802
        """`jobs`: what is other than at moto's, where a job has ended at once; None: is not there."""
        changed = self.jobs.get(body["TrainingJobName"])
        if changed is None:
            found: bytes = forward()
            return found
        answer = json.loads(forward()) | changed
        return json.dumps({name: value for name, value in answer.items() if value is not None}).encode()

    def _UpdateModelPackage(self, body: dict[str, Any], forward: Any) -> Any:  # noqa: N802
        self.metadata.setdefault(body["ModelPackageArn"], {}).update(body.get("CustomerMetadataProperties", {}))
        return forward() if "ModelApprovalStatus" in body else {"ModelPackageArn": body["ModelPackageArn"]}

    def _DescribeModelPackage(self, body: dict[str, Any], forward: Any) -> Any:  # noqa: ARG002, N802
        answer = json.loads(forward())
        if "ModelPackageArn" not in answer:
            return answer
        # moto leaves the name out, and writes the ARN into the names of details.
        answer |= {"ModelPackageName": answer["ModelPackageGroupName"], "ModelPackageStatusDetails": _CHECKED}
        metadata = self.metadata.get(answer["ModelPackageArn"])
        return answer | ({"CustomerMetadataProperties": metadata} if metadata else {})


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body of an answer are two packets: no 40 ms between them
    played: Played

    def log_message(self, *_: object) -> None:
        return

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        call = self.headers["X-Amz-Target"].removeprefix("SageMaker.")
        played, asked = self.played, json.loads(body)
        with played.lock:
            played.calls.append((call, asked))
            if call in played.refuse:
                code, message = played.refuse[call]
                reply(self, 400, json.dumps({"__type": code, "message": message}).encode(), _JSON)
                return
            status = 200

            def forward() -> bytes:
                nonlocal status
                status, content = self._forward(body)
                return content

            found = played.play(call, asked, forward) if played.plays(call) else forward()
            if b'"__type"' in found:  # a refusal that is played
                status = 400
        reply(self, status, found, _JSON)

    def _forward(self, body: bytes) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(*self.played.moto, timeout=_TIMEOUT)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOPS}
        connection.request("POST", self.path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, content


@contextmanager
def sagemaker_server(moto: str) -> Iterator[Played]:
    """In front of moto's server at this address, for SageMaker's calls alone. The caller tells boto3 of `address`."""
    host, port = moto.removeprefix("http://").split(":")
    handler = type("Handler", (_Handler,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    played = Played(f"http://127.0.0.1:{server.server_port}", (host, int(port)))
    handler.played = played  # type: ignore[attr-defined]
    with in_thread(server):
        yield played
