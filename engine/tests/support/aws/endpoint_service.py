"""Endpoints and inference components as SageMaker keeps them, in steps that a test names.

By the documentation in botocore's model of SageMaker (2017-07-24, botocore 1.43):
- EndpointStatus: "DeleteEndpoint is the only operation that can be performed on a failed endpoint"; SystemUpdating
  "cannot be updated or deleted or re-scaled until it has completed"; CreateEndpoint sets Creating, then InService;
  UpdateEndpoint sets Updating, then InService; the errors of UpdateEndpoint are ResourceLimitExceeded alone, and
  whatever a status does not allow is a ValidationException, as what is not found is.
- UpdateEndpoint: the old configuration serves until the traffic has moved, and again after a rollback; FailureReason
  says why. PendingDeploymentSummary names the configuration that is on its way.
- "The endpoint name must be unique"; an inference component likewise, with the statuses of InferenceComponentStatus.

`outcomes`: how the next things end, in order; "InService" where none is named. A rollback is "RolledBack".
`ticks`: looks until something ends.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from botocore import xform_name

T = TypeVar("T")
ARN = "arn:aws:sagemaker:eu-west-1:123456789012"


class Refused(Exception):
    """(code, message) of AWS's answer."""


def invalid(message: str) -> Refused:
    return Refused("ValidationException", message)


@dataclass
class Thing:
    """An endpoint or a component. `pending`: the configuration on its way."""

    config: str
    status: str
    pending: str = ""
    reason: str = ""
    left: int = 0
    end: str = "InService"
    made: int = 0
    request: dict[str, Any] = field(default_factory=dict)


@dataclass
class EndpointService:
    endpoints: dict[str, Thing] = field(default_factory=dict)
    components: dict[str, Thing] = field(default_factory=dict)
    configs: dict[str, dict[str, Any]] = field(default_factory=dict)
    outcomes: list[str] = field(default_factory=list)
    ticks: int = 1

    def method(self, call: str) -> Callable[[dict[str, Any]], dict[str, Any]] | None:
        return getattr(self, f"_{xform_name(call)}", None)

    def begin(self, thing: Thing, status: str) -> None:
        thing.status, thing.left = status, self.ticks
        thing.end = self.outcomes.pop(0) if self.outcomes and status != "Deleting" else "InService"

    def _look(self, things: dict[str, Thing], name: str, kind: str) -> Thing:
        thing = things.get(name)
        if thing and thing.status not in ("InService", "Failed", "OutOfService", "UpdateRollbackFailed"):
            if thing.left:
                thing.left -= 1
            else:
                self._end(things, name, thing)
        return _there(things, name, kind)

    def _end(self, things: dict[str, Thing], name: str, thing: Thing) -> None:
        if thing.status == "Deleting":
            del things[name]
            return
        if thing.end == "RolledBack":
            thing.status, thing.reason = "InService", "errors is in ALARM"
        elif thing.end == "InService":
            thing.status, thing.config, thing.reason = "InService", thing.pending or thing.config, ""
        else:
            thing.status, thing.reason = thing.end, "the container did not pass its ping health check"
        thing.pending = ""

    def _create_endpoint_config(self, body: dict[str, Any]) -> dict[str, Any]:
        name = _new(self.configs, body["EndpointConfigName"], "endpoint-config")
        self.configs[name] = body
        return {"EndpointConfigArn": f"{ARN}:endpoint-config/{name}"}

    def _describe_endpoint_config(self, body: dict[str, Any]) -> dict[str, Any]:
        name = body["EndpointConfigName"]
        held = _there(self.configs, name, "endpoint-config")
        made = {"EndpointConfigArn": f"{ARN}:endpoint-config/{name}", "CreationTime": 0}
        return {key: value for key, value in held.items() if key != "Tags"} | made

    def _create_endpoint(self, body: dict[str, Any]) -> dict[str, Any]:
        name = _new(self.endpoints, body["EndpointName"], "endpoint")
        _there(self.configs, body["EndpointConfigName"], "endpoint-config")
        config = body["EndpointConfigName"]
        self.endpoints[name] = Thing(config, "Creating", pending=config, request=body)
        self.begin(self.endpoints[name], "Creating")
        return {"EndpointArn": f"{ARN}:endpoint/{name}"}

    def _update_endpoint(self, body: dict[str, Any]) -> dict[str, Any]:
        thing = _there(self.endpoints, body["EndpointName"], "endpoint")
        if thing.status not in ("InService", "UpdateRollbackFailed"):
            raise invalid(f"Cannot update endpoint with status {thing.status}")
        _there(self.configs, body["EndpointConfigName"], "endpoint-config")
        if thing.config == body["EndpointConfigName"]:
            raise invalid("Cannot update endpoint to the configuration that it has")
        thing.pending, thing.request = body["EndpointConfigName"], body
        self.begin(thing, "Updating")
        return {"EndpointArn": f"{ARN}:endpoint/{body['EndpointName']}"}

    def _delete_endpoint(self, body: dict[str, Any]) -> dict[str, Any]:
        thing = _there(self.endpoints, body["EndpointName"], "endpoint")
        if thing.status in ("Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting"):
            raise invalid(f"Cannot delete endpoint with status {thing.status}")
        self.begin(thing, "Deleting")
        return {}

    def _describe_endpoint(self, body: dict[str, Any]) -> dict[str, Any]:
        name = body["EndpointName"]
        thing = self._look(self.endpoints, name, "endpoint")
        pending = {"EndpointConfigName": thing.pending} if thing.pending else None
        found = {"EndpointConfigName": thing.config, "PendingDeploymentSummary": pending, "FailureReason": thing.reason}
        answer = {"EndpointName": name, "EndpointArn": f"{ARN}:endpoint/{name}", "EndpointStatus": thing.status}
        answer |= {"CreationTime": 0, "LastModifiedTime": 0}
        return answer | {key: value for key, value in found.items() if value}

    def _create_inference_component(self, body: dict[str, Any]) -> dict[str, Any]:
        name = _new(self.components, body["InferenceComponentName"], "inference-component")
        base = body["Specification"].get("BaseInferenceComponentName")
        endpoint = _there(self.endpoints, body["EndpointName"], "endpoint")
        if endpoint.status != "InService":
            raise invalid(f"Cannot add a component to an endpoint with status {endpoint.status}")
        if base and _there(self.components, base, "inference-component").status != "InService":
            raise invalid(f"{base} is not in service")
        self.components[name] = Thing("", "Creating", request=body, made=len(self.components))
        self.begin(self.components[name], "Creating")
        return {"InferenceComponentArn": f"{ARN}:inference-component/{name}"}

    def _describe_inference_component(self, body: dict[str, Any]) -> dict[str, Any]:
        name = body["InferenceComponentName"]
        thing = self._look(self.components, name, "inference-component")
        base = thing.request["Specification"].get("BaseInferenceComponentName")
        answer = _summary(name, thing) | {"Specification": {"BaseInferenceComponentName": base} if base else {}}
        return answer | ({"FailureReason": thing.reason} if thing.reason else {})

    def _delete_inference_component(self, body: dict[str, Any]) -> dict[str, Any]:
        name = body["InferenceComponentName"]
        thing = _there(self.components, name, "inference-component")
        used = [one.request["Specification"].get("BaseInferenceComponentName") for one in self.components.values()]
        if name in used:
            raise invalid(f"{name} has adapters")
        self.begin(thing, "Deleting")
        return {}

    def _list_inference_components(self, body: dict[str, Any]) -> dict[str, Any]:
        assert (body["SortBy"], body["SortOrder"]) == ("CreationTime", "Descending")
        listed = sorted(self.components.items(), key=lambda one: -one[1].made)
        return {"InferenceComponents": [_summary(name, one) | {"VariantName": "live"} for name, one in listed]}


def _new(things: dict[str, Any], name: str, kind: str) -> str:
    if name in things:
        raise invalid(f'Cannot create already existing {kind} "{ARN}:{kind}/{name}".')
    return name


def _there(things: dict[str, T], name: str, kind: str) -> T:
    if name not in things:
        raise invalid(f'Could not find {kind} "{ARN}:{kind}/{name}".')
    return things[name]


def _summary(name: str, thing: Thing) -> dict[str, Any]:
    endpoint = thing.request["EndpointName"]
    return {
        "InferenceComponentName": name,
        "InferenceComponentArn": f"{ARN}:inference-component/{name}",
        "EndpointName": endpoint,
        "EndpointArn": f"{ARN}:endpoint/{endpoint}",
        "InferenceComponentStatus": thing.status,
        "CreationTime": thing.made,
        "LastModifiedTime": thing.made,
    }
