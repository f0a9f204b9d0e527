"""Checks a repository through GitHub's API with GITHUB_TOKEN: settings that the workflows need, and branch rules.

The expected variables and secrets are read from the workflows. To list secrets, environments and settings, the token
needs administration rights on the repository; without them those are not verified.
"""

from __future__ import annotations

import json
import re
from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from sluice.core.errors import SluiceError
from sluice.core.extras import hooks
from sluice.core.git import run
from sluice.extras.doctor.check import Diagnosis, DiagnosisScope, passed, unverified
from sluice.github.github_client import GitHubStatusError, open_repository, refusals

RULESET = ".github/rulesets/main.json"
# What each is for. Everything else that a workflow names must be there.
OPTIONAL = {
    "ATTESTATIONS": "`on` in a private repository whose plan has attestations, `off` for none",
    "CODE_SCANNING": "`on` in a private repository whose plan has code scanning",
    "EKS_CLUSTER": "a cluster of the environment; without it only the record is moved",
    "MLFLOW_TRACKING_URI": "an MLflow server; without it, runs are kept by the runner alone",
    "SLUICE_ARTEFACTS": "releases that are kept elsewhere; without it GitHub keeps them",
    "SLUICE_IMAGE_BASE": "images; without it none is built",
    "UPGRADE_TOKEN": "upgrades that change workflows: a secret of the environment `upgrade` (docs/set-up.md)",
}
# Set in each environment as well: what a deployment may do is not what a build may do.
_OF_ENVIRONMENTS = "AWS_ROLE_ARN"
# Both or neither: without a cloud GitHub keeps what is released.
_CLOUD = {"AWS_REGION": "S3 and EKS", _OF_ENVIRONMENTS: "S3 and EKS"}
_GIVEN = frozenset({"GITHUB_TOKEN"})
Ask = Callable[[str], Any]


def check(scope: DiagnosisScope) -> Iterator[Diagnosis]:
    repository = repository_of(scope)
    if not repository:
        yield unverified(
            "repository", "no remote of GitHub, no GITHUB_REPOSITORY", "export GITHUB_REPOSITORY=OWNER/NAME"
        )
        return
    try:
        with open_repository({**scope.environment, "GITHUB_REPOSITORY": repository}) as there:

            def ask(path: str) -> Any:
                with refusals():
                    return there.requester.requestJsonAndCheck("GET", f"/repos/{repository}{path}")[1]

            try:
                facts = ask("")
            except GitHubStatusError as error:
                yield unverified("repository", error.message, f"gh repo view {repository}")
                return
            numbers = f"OwnerId {facts['owner']['id']}, RepositoryId {facts['id']}"
            yield passed("repository", f"{repository}, branch {facts['default_branch']}; {numbers}")
            yield _names(scope, repository)
            for what, mend, look in _checks(scope, repository, facts):
                yield from _safely(what, mend, ask, look)
    except SluiceError as error:  # no token, no network
        yield unverified("GitHub", error.message, "export GITHUB_TOKEN=$(gh auth token)")


Look = Callable[[Ask], Iterator[Diagnosis]]


def _checks(scope: DiagnosisScope, repository: str, facts: dict[str, Any]) -> Iterator[tuple[str, str, Look]]:
    """What is looked at, the command that mends it, and the function that looks."""
    branch = facts["default_branch"]
    api = f"gh api -X PUT repos/{repository}"
    rights = f"{api}/actions/permissions/workflow -f default_workflow_permissions=read"
    rights += " -F can_approve_pull_request_reviews=true"
    yield "token of workflows", rights, lambda ask: _workflow_rights(ask, rights)
    subject = f"{api}/actions/oidc/customization/sub -F use_default=true"
    yield "OIDC subject", subject, lambda ask: _subject(ask, facts, subject)
    for name in scope.names.environments:
        place = f"repos/{repository}/environments/{name}"
        look = partial(_environment, place=place, branch=branch, last=name == scope.names.environments[-1])
        yield f"environment {name}", _limited(place, branch), look
    yield "variables", "gh variable list", lambda ask: _variables(ask, scope)
    yield "secrets", "gh secret list", lambda ask: _secrets(ask, scope)
    for more in hooks("github").values():
        yield from more(scope, repository, branch)
    applied = f"gh api -X POST repos/{repository}/rulesets --input {RULESET}"
    yield "ruleset", applied, lambda ask: _ruleset(ask, scope, branch, applied)


def _safely(what: str, mend: str, ask: Ask, look: Look) -> Iterator[Diagnosis]:
    try:
        yield from list(look(ask))
    except SluiceError as error:
        yield unverified(what, error.message, mend)


def repository_of(scope: DiagnosisScope) -> str:
    """owner/name, of the environment or of the remote `origin`; empty where neither says."""
    if named := scope.environment.get("GITHUB_REPOSITORY"):
        return named
    try:
        address = run(scope.root, "remote", "get-url", "origin")
    except SluiceError:
        return ""
    found = re.search(r"github\.com[:/]([\w-]+/[\w.-]+?)(?:\.git)?/?$", address)
    return found[1] if found else ""


def _names(scope: DiagnosisScope, repository: str) -> Diagnosis:
    if scope.names.repository.lower() == repository.lower():
        return passed("names", scope.names.repository)
    owner, _, name = repository.lower().partition("/")
    mend = f".venv/bin/sluice init --organisation {owner} --name {name}"
    return Diagnosis("names", "missing", f"the files say {scope.names.repository}", mend)


def _workflow_rights(ask: Ask, mend: str) -> Iterator[Diagnosis]:
    found = ask("/actions/permissions/workflow")
    what = "token of workflows"
    if found.get("default_workflow_permissions") != "read":
        yield Diagnosis(what, "missing", "may write wherever a workflow does not say otherwise", mend)
    elif not found.get("can_approve_pull_request_reviews"):
        yield Diagnosis(what, "missing", "may not open pull requests, as upgrade-template does", mend)
    else:
        yield passed(what, "reads by default, may open pull requests")


def _subject(ask: Ask, facts: dict[str, Any], mend: str) -> Iterator[Diagnosis]:
    """The roles trust both forms: with names alone, and, of repositories since July 2026, with numbers too."""
    found = ask("/actions/oidc/customization/sub")
    owner, _, name = facts["full_name"].partition("/")
    numbered = f"repo:{owner}@{facts['owner']['id']}/{name}@{facts['id']}:…"
    if found.get("use_default"):
        yield passed("OIDC subject", numbered if found.get("use_immutable_subject") else f"repo:{owner}/{name}:…")
    else:
        yield Diagnosis("OIDC subject", "missing", "customised: the roles of AWS do not trust it", mend)


def _limited(place: str, branch: str) -> str:
    """The commands that make an environment which runs of one branch alone may enter."""
    policy = "deployment_branch_policy"
    kinds = f"-F '{policy}[protected_branches]=false' -F '{policy}[custom_branch_policies]=true'"
    return f"gh api -X PUT {place} {kinds} && {_admitted(place, branch)}"


def _admitted(place: str, branch: str) -> str:
    return f"gh api -X POST {place}/deployment-branch-policies -f name={branch}"


def _environment(ask: Ask, place: str, branch: str, last: bool) -> Iterator[Diagnosis]:
    """Limited by a list of branches: `protected_branches` counts classic rules, and lets everybody in without one."""
    name = place.rpartition("/")[2]
    what = f"environment {name}"
    listed = {one["name"]: one for one in ask("/environments?per_page=100")["environments"]}
    if name not in listed:
        there = ", ".join(sorted(listed)) or "none"
        yield Diagnosis(what, "missing", f"there are: {there}", _limited(place, branch))
        return
    if not (listed[name].get("deployment_branch_policy") or {}).get("custom_branch_policies"):
        found = f"not limited to {branch} by name: any branch may deploy"
        yield Diagnosis(what, "missing", found, _limited(place, branch))
        return
    policies = ask(f"/environments/{name}/deployment-branch-policies?per_page=100")["branch_policies"]
    others = [one for one in policies if (one["name"], one.get("type", "branch")) != (branch, "branch")]
    reviewed = "required_reviewers" in {rule["type"] for rule in listed[name].get("protection_rules", ())}
    if len(others) == len(policies):
        yield Diagnosis(what, "missing", f"{branch} may not deploy", _admitted(place, branch))
    elif others:
        away = " && ".join(f"gh api -X DELETE {place}/deployment-branch-policies/{one['id']}" for one in others)
        yield Diagnosis(what, "missing", f"may be entered from {', '.join(one['name'] for one in others)} too", away)
    elif last and not reviewed:
        reviewers = "Settings > Environments > Required reviewers; a private repository has them on Enterprise alone"
        yield Diagnosis(what, "missing", "no reviewer is asked before a deployment", reviewers)
    else:
        yield passed(what, f"{branch} only" + (", after a review" if reviewed else ""))


def _variables(ask: Ask, scope: DiagnosisScope) -> Iterator[Diagnosis]:
    there = {one["name"] for one in ask("/actions/variables?per_page=100")["variables"]}
    cloud = bool(there & {*_CLOUD})
    for name in _named(scope, "vars"):
        yield _held(f"variable {name}", name, there, f"gh variable set {name}", {} if cloud else _CLOUD)
    if cloud and _OF_ENVIRONMENTS in _named(scope, "vars"):
        for environment in scope.names.environments:
            own = {one["name"] for one in ask(f"/environments/{environment}/variables?per_page=100")["variables"]}
            mend = f"gh variable set {_OF_ENVIRONMENTS} --env {environment}"
            yield _held(f"variable {_OF_ENVIRONMENTS} of {environment}", _OF_ENVIRONMENTS, own, mend)


def _secrets(ask: Ask, scope: DiagnosisScope) -> Iterator[Diagnosis]:
    there = {one["name"] for one in ask("/actions/secrets?per_page=100")["secrets"]}
    for name in _named(scope, "secrets"):
        yield _held(f"secret {name}", name, there, f"gh secret set {name}")


def _held(what: str, name: str, there: set[str], mend: str, more: Mapping[str, str] | None = None) -> Diagnosis:
    if name in there:
        return passed(what, "set")
    optional = dict(ChainMap(OPTIONAL, dict(more or {}), *(extra() for extra in hooks("variables").values())))
    if name in optional:
        return Diagnosis(what, "optional", f"not set; for {optional[name]}", mend)
    return Diagnosis(what, "missing", "not set", mend)


def _named(scope: DiagnosisScope, kind: str) -> list[str]:
    """Names behind `vars.` or `secrets.` in the workflows."""
    files = (scope.root / ".github" / "workflows").glob("*.yml")
    found = {name for path in files for name in re.findall(rf"\b{kind}\.([A-Z][A-Z0-9_]*)\b", path.read_text())}
    return sorted(found - _GIVEN)


def _ruleset(ask: Ask, scope: DiagnosisScope, branch: str, mend: str) -> Iterator[Diagnosis]:
    """Whether the rules in force are at least those of the file; who made them does not matter."""
    wanted = json.loads((scope.root / RULESET).read_text(encoding="utf-8"))["rules"]
    active = ask(f"/rules/branches/{branch}?per_page=100")
    absent = sorted({rule["type"] for rule in wanted} - {rule["type"] for rule in active})
    lacking = sorted(_checks_of(wanted) - _checks_of(active))
    if absent or lacking:
        yield Diagnosis("ruleset", "missing", f"{branch} lacks: {', '.join([*absent, *lacking])}", mend)
    else:
        yield passed("ruleset", f"{len(wanted)} rules in force on {branch}")


def _checks_of(rules: list[dict[str, Any]]) -> set[str]:
    """`check NAME` of each that must have passed."""
    chosen = [rule for rule in rules if rule["type"] == "required_status_checks"]
    return {f"check {one['context']}" for rule in chosen for one in rule["parameters"]["required_status_checks"]}
