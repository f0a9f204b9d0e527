"""Environments and variables on GitHub, and the changes that correct them.

Only missing ones are requested, so an interrupted run can be repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from sluice.core.errors import SluiceError
from sluice.core.settings import nearest
from sluice.extras.doctor.check import Diagnosis, GitHubChange, passed
from sluice.github.github_client import GitHubStatusError, open_repository, refusals

# What GitHub answers a token without the right: it says so, or that there is no such thing.
_WITHOUT_RIGHT = (403, 404)
Ask = Callable[[str], Any]


def fixable(what: str, found: str, repository: str, *changes: GitHubChange) -> Diagnosis:
    fix = " && ".join(change.command(repository) for change in changes)
    return Diagnosis(what, "missing", found, fix, changes)


def apply(repository: str, found: Iterable[Diagnosis], environment: Mapping[str, str]) -> Iterator[str]:
    """Make the changes; after a refused one, the rest of its diagnosis waits for the next run."""
    with open_repository({**environment, "GITHUB_REPOSITORY": repository}) as there:
        for one in found:
            for change in one.changes:
                try:
                    with refusals():
                        url = f"/repos/{repository}{change.path}"
                        there.requester.requestJsonAndCheck(change.method, url, input=change.body)
                except GitHubStatusError as error:
                    needs = f"; the token needs the right `{change.right}: write`" * (error.status in _WITHOUT_RIGHT)
                    yield f"REFUSED  {one.what}: {error.message}{needs}"
                    break
                yield f"changed  {one.what}: {change.command(repository)}"


def variables(ask: Any, repository: str, wanted: Sequence[str], known: Sequence[str]) -> Iterator[Diagnosis]:
    for text in wanted:
        place, equals, value = text.partition("=")
        environment, _, name = place.rpartition("/")
        if not equals or not value:
            raise SluiceError(f"--set {text}: no value", remedy="write NAME=VALUE, or ENVIRONMENT/NAME=VALUE")
        if name not in known:
            raise SluiceError(f"--set {text}: no workflow reads {name}{nearest(name, list(known))}")
        path = f"/environments/{environment}/variables" if environment else "/actions/variables"
        right = "Environments" if environment else "Variables"
        what, body = f"variable {name}" + f" of {environment}" * bool(environment), {"name": name, "value": value}
        try:
            there = ask(f"{path}/{name}")["value"]
        except GitHubStatusError as error:
            if error.status != 404:
                raise
            yield fixable(what, "not set", repository, GitHubChange("POST", path, body, right=right))
            continue
        if there != value:
            yield fixable(what, there, repository, GitHubChange("PATCH", f"{path}/{name}", body, right=right))


def environment(
    repository: str, branch: str, name: str, ask: Ask, *, reviewed: bool = False, private: bool = False
) -> Iterator[Diagnosis]:
    """Require an environment that one branch alone may enter.

    It needs a list of branches: `protected_branches` counts classic rules, and lets everybody in without one."""
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
    """Limit an environment to a list of branches, and keep its timer and its reviewers."""
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
