"""Checks an environment on GitHub: which branches may enter it, and who has to agree."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sluice.extras.doctor.check import Diagnosis, passed
from sluice.extras.doctor.github_changes import GitHubChange, fixable

Ask = Callable[[str], Any]


def environment(
    repository: str, branch: str, name: str, ask: Ask, *, reviewed: bool = False, private: bool = False
) -> Iterator[Diagnosis]:
    """Whether runs of one branch alone may enter an environment.

    It has to have a list of branches: `protected_branches` counts classic rules, and lets everybody in without one."""
    what, place = f"environment {name}", f"/environments/{name}"
    listed = {one["name"]: one for one in ask("/environments?per_page=100")["environments"]}
    admitted = GitHubChange("POST", f"{place}/deployment-branch-policies", {"name": branch})
    limited = GitHubChange("PUT", place, _limits(listed.get(name, {})))
    if name not in listed:
        found = f"there are: {', '.join(sorted(listed)) or 'none'}"
        yield fixable(what, found, repository, limited, admitted)
        return
    if not (listed[name].get("deployment_branch_policy") or {}).get("custom_branch_policies"):
        found = f"not limited to {branch} by name: any branch may deploy"
        yield fixable(what, found, repository, limited, admitted)
        return
    policies = ask(f"{place}/deployment-branch-policies?per_page=100")["branch_policies"]
    others = [one for one in policies if (one["name"], one.get("type", "branch")) != (branch, "branch")]
    reviewers = "required_reviewers" in {rule["type"] for rule in listed[name].get("protection_rules", ())}
    away = [GitHubChange("DELETE", f"{place}/deployment-branch-policies/{one['id']}") for one in others]
    if others:
        there = () if len(others) < len(policies) else (admitted,)
        found = f"may be entered from {', '.join(one['name'] for one in others)} too"
        yield fixable(what, found, repository, *there, *away)
    elif not policies:
        yield fixable(what, f"{branch} may not deploy", repository, admitted)
    elif reviewed and not reviewers:
        fix = "Settings > Environments > Required reviewers; a private repository has them on Enterprise alone"
        yield Diagnosis(what, "optional" if private else "missing", "no reviewer is asked before a deployment", fix)
    else:
        yield passed(what, f"{branch} only" + (", after a review" if reviewers else ""))


def _limits(there: Mapping[str, Any]) -> dict[str, Any]:
    """What limits an environment to a list of branches, and keeps its timer and its reviewers."""
    body: dict[str, Any] = {
        "deployment_branch_policy": {"protected_branches": False, "custom_branch_policies": True},
    }
    for rule in there.get("protection_rules", ()):
        if "wait_timer" in rule:
            body["wait_timer"] = rule["wait_timer"]
        if "reviewers" in rule:
            body["reviewers"] = [{"type": one["type"], "id": one["reviewer"]["id"]} for one in rule["reviewers"]]
            body["prevent_self_review"] = bool(rule.get("prevent_self_review"))
    return body
