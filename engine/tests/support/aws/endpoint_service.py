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

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from botocore import xform_name

SETTLED = ("InService", "Failed", "OutOfService", "UpdateRollbackFailed")
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
    configs: dict[str, Thing] = field(default_factory=dict)
    outcomes: list[str] = field(default_factory=list)
    ticks: int = 1

    def method(self, call: str) -> Callable[[dict[str, Any]], dict[str, Any]] | None:
        """Return what answers a call; None if moto does."""
        if call == "ListInferenceComponents":
            return self._list
        verb = next((one for one in ("Create", "Describe", "Update", "Delete") if call.startswith(one)), "")
        kinds = {"Endpoint": self.endpoints, "EndpointConfig": self.configs, "InferenceComponent": self.components}
        kind = call.removeprefix(verb)
        if not verb or kind not in kinds:
            return None
        answer = getattr(self, f"_{verb.lower()}")
        return lambda body: answer(kind, kinds[kind], body[f"{kind}Name"], body)

    def _create(self, kind: str, things: dict[str, Thing], name: str, body: dict[str, Any]) -> dict[str, Any]:
        if name in things:
            raise invalid(f'Cannot create already existing {kind} "{arn(kind, name)}".')
        if kind == "Endpoint":
            there(self.configs, body["EndpointConfigName"])
        if kind == "InferenceComponent":
            if there(self.endpoints, body["EndpointName"]).status != "InService":
                raise invalid("Cannot add a component to an endpoint that is not in service")
            if (base := base_of(body)) and there(self.components, base).status != "InService":
                raise invalid(f"{base} is not in service")
        config = body.get("EndpointConfigName", "")
        things[name] = Thing(config, "InService", pending=config, request=body, made=len(things))
        if kind != "EndpointConfig":
            self._begin(things[name], "Creating")
        return {f"{kind}Arn": arn(kind, name)}

    def _update(self, kind: str, things: dict[str, Thing], name: str, body: dict[str, Any]) -> dict[str, Any]:
        thing, config = there(things, name), body["EndpointConfigName"]
        if thing.status not in ("InService", "UpdateRollbackFailed"):
            raise invalid(f"Cannot update endpoint with status {thing.status}")
        there(self.configs, config)
        if thing.config == config:
            raise invalid("Cannot update endpoint to the configuration that it has")
        thing.pending, thing.request = config, body
        self._begin(thing, "Updating")
        return {f"{kind}Arn": arn(kind, name)}

    def _delete(self, kind: str, things: dict[str, Thing], name: str, _: dict[str, Any]) -> dict[str, Any]:
        thing = there(things, name)
        if kind == "Endpoint" and thing.status not in SETTLED:
            raise invalid(f"Cannot delete endpoint with status {thing.status}")
        if name in map(base_of, (one.request for one in self.components.values())):
            raise invalid(f"{name} has adapters")
        self._begin(thing, "Deleting")
        return {}

    def _begin(self, thing: Thing, status: str) -> None:
        thing.status, thing.left = status, self.ticks
        thing.end = self.outcomes.pop(0) if self.outcomes and status != "Deleting" else "InService"

    def _describe(self, kind: str, things: dict[str, Thing], name: str, _: dict[str, Any]) -> dict[str, Any]:
        thing = there(things, name)
        if thing.status not in SETTLED and not thing.left:
            self._end(things, name, thing)
        thing = there(things, name)
        thing.left = max(0, thing.left - 1)
        base = base_of(thing.request)
        if kind == "EndpointConfig":
            found = {key: value for key, value in thing.request.items() if key != "Tags"} | {"CreationTime": 0}
        elif kind == "Endpoint":
            pending = {"EndpointConfigName": thing.pending} if thing.pending else None
            found = {
                "EndpointConfigName": thing.config,
                "PendingDeploymentSummary": pending,
                **summary(kind, name, thing),
            }
        else:
            found = summary(kind, name, thing) | {"Specification": {"BaseInferenceComponentName": base} if base else {}}
        found |= {f"{kind}Name": name, f"{kind}Arn": arn(kind, name), "FailureReason": thing.reason}
        return {key: value for key, value in found.items() if value not in (None, "")}

    def _end(self, things: dict[str, Thing], name: str, thing: Thing) -> None:
        if thing.status == "Deleting":
            del things[name]
        elif thing.end == "RolledBack":
            thing.status, thing.reason = "InService", "errors is in ALARM"
        elif thing.end == "InService":
            thing.status, thing.config, thing.reason = "InService", thing.pending or thing.config, ""
        else:
            thing.status, thing.reason = thing.end, "the container did not pass its ping health check"
        thing.pending = ""

    def _list(self, body: dict[str, Any]) -> dict[str, Any]:
        assert (body["SortBy"], body["SortOrder"]) == ("CreationTime", "Descending")
        listed = sorted(self.components.items(), key=lambda one: -one[1].made)
        kind = "InferenceComponent"
        return {f"{kind}s": [summary(kind, name, one) | {"VariantName": "live"} for name, one in listed]}


def there(things: dict[str, Thing], name: str) -> Thing:
    if name not in things:
        raise invalid(f'Could not find "{ARN}/{name}".')
    return things[name]


def arn(kind: str, name: str) -> str:
    return f"{ARN}:{xform_name(kind, '-')}/{name}"


def base_of(request: dict[str, Any]) -> str:
    return str(request.get("Specification", {}).get("BaseInferenceComponentName", ""))


def summary(kind: str, name: str, thing: Thing) -> dict[str, Any]:
    endpoint = thing.request.get("EndpointName", name)
    found = {"EndpointName": endpoint, "EndpointArn": arn("Endpoint", endpoint), f"{kind}Status": thing.status}
    found |= {f"{kind}Name": name, f"{kind}Arn": arn(kind, name)}
    return found | {"CreationTime": thing.made, "LastModifiedTime": thing.made}
