"""The settings of a repository on a fake GitHub, kept as they are changed.

Names and what is required in a body are those of GitHub's OpenAPI description for the REST API 2022-11-28, as of
2026-10-21 (githubkit-schemas-2022-11-28 26.10.21 is made of it; its models take what is sent here): environments,
deployment branch policies, workflow permissions, OIDC subject, labels, variables, rulesets. Other properties are
refused here, so that a misspelt one is seen. It does not say whether an environment keeps what a PUT leaves out; here
it is lost.
Paths, statuses and rights: docs.github.com, REST API 2022-11-28, the pages of the same names and Troubleshooting.
"""

import re
from dataclasses import dataclass, field
from typing import Any

from unit.github.fake_github import LOGINS
from unit.github.fake_repository import ROOT, FakeRepository

_RULESET = "target bypass_actors conditions rules"
# (method, path) -> the properties that a body may have; `!` behind what it must have.
BODIES: dict[tuple[str, str], str] = {
    ("PUT", "/environments/{}"): "wait_timer prevent_self_review reviewers deployment_branch_policy",
    ("POST", "/environments/{}/deployment-branch-policies"): "name! type",
    ("DELETE", "/environments/{}/deployment-branch-policies/{}"): "",
    ("POST", "/environments/{}/variables"): "name! value!",
    ("PATCH", "/environments/{}/variables/{}"): "name value",
    ("POST", "/actions/variables"): "name! value!",
    ("PATCH", "/actions/variables/{}"): "name value",
    ("PUT", "/actions/permissions/workflow"): "default_workflow_permissions can_approve_pull_request_reviews",
    ("PUT", "/actions/permissions/fork-pr-contributor-approval"): "approval_policy!",
    ("PUT", "/actions/oidc/customization/sub"): "use_default! include_claim_keys use_immutable_subject",
    ("POST", "/labels"): "name! color description",
    ("POST", "/rulesets"): f"name! enforcement! {_RULESET}",
    ("PUT", "/rulesets/{}"): f"name enforcement {_RULESET}",
}


@dataclass
class FakeSettings(FakeRepository):
    """`environments` by name, each with its `policies` and `variables`; `forbidden`: beginnings of paths that the token
    may not write to; `bodies`: (method, path, body) of each change that was made."""

    environments: dict[str, dict[str, Any]] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    labels: dict[str, dict[str, Any]] = field(default_factory=dict)
    rulesets: dict[int, dict[str, Any]] = field(default_factory=dict)
    workflow: dict[str, Any] = field(default_factory=lambda: {"default_workflow_permissions": "write"})
    subject: dict[str, Any] = field(default_factory=lambda: {"use_default": False, "include_claim_keys": ["repo"]})
    approval: dict[str, Any] = field(default_factory=lambda: {"approval_policy": "first_time_contributors"})
    forbidden: tuple[str, ...] = ()
    bodies: list[tuple[str, str, Any]] = field(default_factory=list)

    def answer(self, method: str, path: str, token: str, body: Any) -> tuple[int, Any]:
        place = path.removeprefix(ROOT).partition("?")[0]
        if token not in LOGINS or not path.startswith(ROOT) or place in ("", "/actions/secrets"):
            return super().answer(method, path, token, body)
        if method == "GET" and place not in self.refused:
            return self._read(place)
        if place in self.refused or place.startswith(self.forbidden):
            return 403, {"message": "Resource not accessible by personal access token"}
        shape = next(
            (kind for (verb, form), kind in BODIES.items() if verb == method and _matches(form, place)), "unknown"
        )
        if shape == "unknown":
            return 404, {"message": "Not Found"}
        if fault := _fault(shape, body):
            return 422, {"message": f"Invalid request. {fault}"}
        status, answer = self._write(method, place.strip("/").split("/"), body)
        if status < 300:
            self.bodies.append((method, place, body))
        return status, answer

    def _read(self, place: str) -> tuple[int, Any]:
        parts = place.strip("/").split("/")
        variables = self.variables if parts[0] == "actions" else {}
        if parts[0] == "environments" and len(parts) > 1:
            if parts[1] not in self.environments:
                return 404, {"message": "Not Found"}
            there = self.environments[parts[1]]
            if parts[2] == "deployment-branch-policies":
                return 200, {"branch_policies": list(there["policies"])}
            variables = there["variables"]
        if "variables" in parts:
            if parts[-1] != "variables":
                found = variables.get(parts[-1])
                return (404, {"message": "Not Found"}) if found is None else (200, {"name": parts[-1], "value": found})
            return 200, {"variables": [{"name": name, "value": value} for name, value in variables.items()]}
        if parts[0] == "labels":
            return (200, self.labels[parts[1]]) if parts[1] in self.labels else (404, {"message": "Not Found"})
        whole = {
            "/environments": {"environments": [self._environment(name) for name in self.environments]},
            "/actions/permissions/workflow": self.workflow,
            "/actions/permissions/fork-pr-contributor-approval": self.approval,
            "/actions/oidc/customization/sub": self.subject,
            "/rulesets": [{"id": number, "name": one["name"]} for number, one in self.rulesets.items()],
            "/rules/branches/main": [
                rule for one in self.rulesets.values() if one["enforcement"] == "active" for rule in one["rules"]
            ],
        }
        return (200, whole[place]) if place in whole else (404, {"message": "Not Found"})

    def _environment(self, name: str) -> dict[str, Any]:
        there = self.environments[name]
        rules: list[dict[str, Any]] = []
        if there.get("wait_timer"):
            rules.append({"id": 1, "type": "wait_timer", "wait_timer": there["wait_timer"]})
        if there.get("reviewers"):
            people = [{"type": one["type"], "reviewer": {"id": one["id"]}} for one in there["reviewers"]]
            itself = there.get("prevent_self_review", False)
            rules.append({"id": 2, "type": "required_reviewers", "prevent_self_review": itself, "reviewers": people})
        policy = there.get("deployment_branch_policy")
        return {"id": 1, "name": name, "protection_rules": rules, "deployment_branch_policy": policy}

    def _write(self, method: str, parts: list[str], body: Any) -> tuple[int, Any]:
        if parts[0] == "environments":
            return self._write_environment(method, parts[1:], body)
        if parts[:2] == ["actions", "variables"]:
            self.variables[body["name"]] = body["value"]
            return (201, {}) if method == "POST" else (204, None)
        if parts[0] == "labels":
            if body["name"] in self.labels:
                return 422, {"message": "Validation Failed"}
            self.labels[body["name"]] = body
            return 201, body
        if parts[0] == "rulesets":
            number = int(parts[1]) if method == "PUT" else len(self.rulesets) + 31
            self.rulesets[number] = {**self.rulesets.get(number, {}), **body}
            return (200 if method == "PUT" else 201), self.rulesets[number]
        {"workflow": self.workflow, "customization": self.subject}.get(parts[2], self.approval).update(body)
        return 204, None

    def _write_environment(self, method: str, parts: list[str], body: Any) -> tuple[int, Any]:
        there = self.environments.get(parts[0])
        if len(parts) == 1:
            limits = body.get("deployment_branch_policy")
            if limits and limits["protected_branches"] == limits["custom_branch_policies"]:
                return 422, {"message": "Validation Failed"}
            kept = {"policies": [], "variables": {}} | (there or {})
            self.environments[parts[0]] = {"policies": kept["policies"], "variables": kept["variables"], **body}
            return 200, self._environment(parts[0])
        if there is None:
            return 404, {"message": "Not Found"}
        if parts[1] == "variables":
            there["variables"][body["name"]] = body["value"]
            return (201, {}) if method == "POST" else (204, None)
        policies = there["policies"]
        if method == "DELETE":
            there["policies"] = [one for one in policies if one["id"] != int(parts[2])]
            return 204, None
        if not (there.get("deployment_branch_policy") or {}).get("custom_branch_policies"):
            return 404, {"message": "Not Found"}
        if any(one["name"] == body["name"] for one in policies):
            return 303, None
        policies.append({"id": len(policies) + 361471, "name": body["name"], "type": body.get("type", "branch")})
        return 200, policies[-1]


def _matches(form: str, place: str) -> bool:
    return bool(re.fullmatch(re.escape(form).replace(r"\{\}", "[^/]+"), place))


def _fault(properties: str, body: Any) -> str:
    sent, known = set(body or ()), properties.split()
    needed = {name.rstrip("!") for name in known if name.endswith("!")}
    return "" if needed <= sent <= {name.rstrip("!") for name in known} else f"has {sorted(sent)} of {properties}"
