"""SageMaker on this machine: moto's server, and what moto 5.2 does not have or answers differently, by hooks of boto3.

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

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
from botocore.awsrequest import AWSResponse
from botocore.model import OperationModel
from botocore.parsers import create_parser

from support.aws.endpoint_service import EndpointService, Refused
from support.aws.service_model import faults

Answer = tuple[AWSResponse, dict[str, Any]]


@dataclass
class Look:
    """The status and the steps of a run at one moment, in SageMaker's words."""

    status: str
    steps: list[dict[str, Any]]


@dataclass
class Played:
    """`looks`: one after the other, the last one forever. `refuse`: (code, message) by the name of a call. `jobs`:
    members of training jobs that differ from moto's; None if a member is missing."""

    looks: list[Look] = field(default_factory=list)
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    refuse: dict[str, tuple[str, str]] = field(default_factory=dict)
    started: dict[str, dict[str, Any]] = field(default_factory=dict)
    stopped: list[str] = field(default_factory=list)
    metadata: dict[str, dict[str, str]] = field(default_factory=dict)
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    service: EndpointService = field(default_factory=EndpointService)

    def register(self) -> None:
        """Answer the clients of boto3's default session from now on."""
        assert boto3.DEFAULT_SESSION
        events = boto3.DEFAULT_SESSION.events
        events.register("before-call.sagemaker", self._before)
        for name in dir(self):
            if name.startswith("_after_"):
                events.register(f"after-call.sagemaker.{name.removeprefix('_after_')}", getattr(self, name))

    def count(self, call: str) -> int:
        return len(self.asked(call))

    def asked(self, call: str) -> list[dict[str, Any]]:
        return [body for name, body in self.calls if name == call]

    def look(self) -> Look:
        if self.stopped:
            return Look("Stopped", self.looks[0].steps)
        return self.looks[0]

    def _before(self, model: OperationModel, params: dict[str, Any], **_: Any) -> Answer | None:
        """Return the answer, or None if moto gives it."""
        call, body = model.name, json.loads(params["body"])
        self.calls.append((call, body))
        try:
            if call in self.refuse:
                raise Refused(*self.refuse[call])
            play = getattr(self, f"_{call}", None) or self.service.method(call)
            answer = play(body) if play else None
        except Refused as refused:
            code, message = refused.args
            return _answer(model, params["url"], 400, {"__type": code, "message": message})
        if answer is None:
            return None
        found = faults(model.output_shape, answer, call)
        assert not found, found
        return _answer(model, params["url"], 200, answer)

    def _StartPipelineExecution(self, body: dict[str, Any]) -> dict[str, Any] | None:  # noqa: N802
        assert 32 <= len(body["ClientRequestToken"]) <= 128
        return self.started.get(body["ClientRequestToken"])

    def _after_StartPipelineExecution(self, parsed: dict[str, Any], **_: Any) -> None:  # noqa: N802
        if "PipelineExecutionArn" in parsed:
            arn = {"PipelineExecutionArn": parsed["PipelineExecutionArn"]}
            self.started[self.asked("StartPipelineExecution")[-1]["ClientRequestToken"]] = arn

    def _after_ListPipelineExecutions(self, parsed: dict[str, Any], **_: Any) -> None:  # noqa: N802
        if "Could not find pipeline" in str(parsed):
            parsed["Error"] = {"Code": "ResourceNotFound", "Message": "there is no such pipeline"}
        summaries = parsed.get("PipelineExecutionSummaries", [])
        for number, one in enumerate(summaries):
            one["PipelineExecutionStatus"] = self.look().status if one is summaries[-1] else "Failed"
            one["StartTime"] += timedelta(seconds=number)  # moto starts them within a second

    def _DescribePipelineExecution(self, body: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        return {"PipelineExecutionArn": body["PipelineExecutionArn"], "PipelineExecutionStatus": self.look().status}

    def _ListPipelineExecutionSteps(self, _: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        look = self.look()
        if len(self.looks) > 1:
            self.looks.pop(0)
        return {"PipelineExecutionSteps": look.steps}

    def _StopPipelineExecution(self, body: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        self.stopped.append(body["PipelineExecutionArn"])
        return {"PipelineExecutionArn": body["PipelineExecutionArn"]}

    def _after_DescribeTrainingJob(self, parsed: dict[str, Any], **_: Any) -> None:  # noqa: N802
        for name, value in self.jobs.get(parsed.get("TrainingJobName", ""), {}).items():
            parsed[name] = value if name.endswith("Seconds") or value is None else datetime.fromtimestamp(value, UTC)

    def _UpdateModelPackage(self, body: dict[str, Any]) -> dict[str, Any] | None:  # noqa: N802
        self.metadata.setdefault(body["ModelPackageArn"], {}).update(body.get("CustomerMetadataProperties", {}))
        return None if "ModelApprovalStatus" in body else {"ModelPackageArn": body["ModelPackageArn"]}

    def _after_DescribeModelPackage(self, parsed: dict[str, Any], **_: Any) -> None:  # noqa: N802
        if "ModelPackageArn" in parsed:
            parsed["CustomerMetadataProperties"] = self.metadata.get(parsed["ModelPackageArn"], {})


def _answer(model: OperationModel, url: str, status: int, content: dict[str, Any]) -> Answer:
    raw = {"body": json.dumps(content).encode(), "headers": {}, "status_code": status}
    return AWSResponse(url, status, {}, None), create_parser("json").parse(raw, model.output_shape)
