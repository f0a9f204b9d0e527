"""Checks a repository through GitHub's API: settings that the workflows need, and branch rules.

The expected variables and secrets are read from the workflows. Without administration rights on the repository,
secrets, environments and settings are not verified.
"""

from __future__ import annotations

import json
import re
from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from sluice.core.errors import SluiceError
from sluice.core.extras import hooks
from sluice.core.git import run
from sluice.extras.doctor.check import Diagnosis, DiagnosisScope, GitHubChange, passed, unverified
from sluice.extras.doctor.github_changes import Ask, environment, fixable, variables
from sluice.github.github_client import GitHubStatusError, open_repository, refusals

RULESET = ".github/rulesets/main.json"
# What each is for. Everything else that a workflow names must be there.
OPTIONAL = {
    "ATTESTATIONS": "`on` in a private repository whose plan has attestations, `off` for none",
    "CANARY_WATCH": "a limit of the watch of a canary other than two hours",
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
_APPROVAL = "/actions/permissions/fork-pr-contributor-approval"
_GIVEN = frozenset({"GITHUB_TOKEN"})


def check(scope: DiagnosisScope) -> Iterator[Diagnosis]:
    repository = repository_of(scope)
    if not repository:
        yield unverified(
            "repository", "no remote of GitHub, no GITHUB_REPOSITORY", "export GITHUB_REPOSITORY=OWNER/NAME"
        )
        return
    try:
        with reader(scope, repository) as ask:
            try:
                facts = ask("")
            except GitHubStatusError as error:
                yield unverified("repository", error.message, f"gh repo view {repository}")
                return
            numbers = f"OwnerId {facts['owner']['id']}, RepositoryId {facts['id']}"
            yield passed("repository", f"{repository}, branch {facts['default_branch']}; {numbers}")
            yield _names(scope, repository)
            yield from _released(scope, repository, facts["default_branch"])
            for what, fix, look in _checks(scope, repository, facts):
                try:
                    yield from list(look(ask))
                except SluiceError as error:
                    yield unverified(what, error.message, fix)
    except SluiceError as error:  # no token, no network
        yield unverified("GitHub", error.message, "export GITHUB_TOKEN=$(gh auth token)")


@contextmanager
def reader(scope: DiagnosisScope, repository: str) -> Iterator[Ask]:
    with open_repository({**scope.environment, "GITHUB_REPOSITORY": repository}) as there:

        def ask(path: str) -> Any:
            with refusals():
                return there.requester.requestJsonAndCheck("GET", f"/repos/{repository}{path}")[1]

        yield ask


def wanted_variables(scope: DiagnosisScope, repository: str, wanted: list[str]) -> list[Diagnosis]:
    with reader(scope, repository) as ask:
        return list(variables(ask, repository, wanted, _named(scope, "vars")))


Look = Callable[[Ask], Iterator[Diagnosis]]


def _checks(scope: DiagnosisScope, repository: str, facts: dict[str, Any]) -> Iterator[tuple[str, str, Look]]:
    """Yield the name of a check, the command that fixes it, and the function that looks."""
    branch = facts["default_branch"]
    look_up = f"gh api repos/{repository}"
    yield "token of workflows", f"{look_up}/actions/permissions/workflow", partial(_workflow_rights, repository)
    subject = f"{look_up}/actions/oidc/customization/sub"
    yield "OIDC subject", subject, lambda ask: _subject(ask, facts, repository)
    if not facts.get("private"):
        yield "outside contributors", f"{look_up}{_APPROVAL}", partial(_outside, repository)
    for name in scope.names.environments:
        reviewed, private = name == scope.names.environments[-1], bool(facts.get("private"))
        look = partial(environment, repository, branch, name, reviewed=reviewed, private=private)
        yield f"environment {name}", f"{look_up}/environments", look
    yield "variables", "gh variable list", lambda ask: _variables(ask, scope)
    yield "secrets", "gh secret list", lambda ask: _secrets(ask, scope)
    for label in sorted(set(_found(scope, r"\blabel\.name [!=]= '([\w-]+)'"))):
        yield f"label {label}", "gh label list", partial(_label, repository, label)
    for more in hooks("github").values():
        yield from more(scope, repository, branch)
    yield "ruleset", f"{look_up}/rules/branches/{branch}", partial(_ruleset, scope, repository, branch)


def repository_of(scope: DiagnosisScope) -> str:
    """Return owner/name from the environment or the remote `origin`, or an empty string."""
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
    fix = f".venv/bin/sluice init --organisation {owner} --name {name}"
    return Diagnosis("names", "missing", f"the files say {scope.names.repository}", fix)


def _released(scope: DiagnosisScope, repository: str, branch: str) -> Iterator[Diagnosis]:
    """A trigger takes no expression, so release.yml lists branches."""
    listed = _found(scope, r"(?m)^name: release\n(?s:.*?)^  push:\n    branches: \[([^\]]*)\]")
    for branches in listed:
        if branch in re.split(r",\s*", branches):
            yield passed("releases", f"a merge to {branch} is released")
        else:
            fix = f"gh api -X POST repos/{repository}/branches/{branch}/rename -f new_name=main, or add it there"
            yield Diagnosis("releases", "missing", f"no merge to {branch} is: release.yml is for {branches}", fix)


def _workflow_rights(repository: str, ask: Ask) -> Iterator[Diagnosis]:
    """One setting allows opening and approving pull requests, so it is offered and not made."""
    path = "/actions/permissions/workflow"
    found, what = ask(path), "token of workflows"
    opens = bool(found.get("can_approve_pull_request_reviews"))
    body = {"default_workflow_permissions": "read", "can_approve_pull_request_reviews": opens}
    if found.get("default_workflow_permissions") != "read":
        change = GitHubChange("PUT", path, body)
        yield fixable(what, "may write wherever a workflow does not say otherwise", repository, change)
    elif not opens:
        fix = GitHubChange("PUT", path, body | {"can_approve_pull_request_reviews": True}).command(repository)
        found = "reads; may not open pull requests: upgrade-template needs UPGRADE_TOKEN then"
        yield Diagnosis(what, "optional", found, fix)
    else:
        yield passed(what, "reads by default, may open pull requests")


def _subject(ask: Ask, facts: dict[str, Any], repository: str) -> Iterator[Diagnosis]:
    """The roles trust names alone and, for repositories since July 2026, names with numbers."""
    path = "/actions/oidc/customization/sub"
    found = ask(path)
    owner, _, name = facts["full_name"].partition("/")
    numbered = f"repo:{owner}@{facts['owner']['id']}/{name}@{facts['id']}:…"
    if found.get("use_default"):
        yield passed("OIDC subject", numbered if found.get("use_immutable_subject") else f"repo:{owner}/{name}:…")
    else:
        change = GitHubChange("PUT", path, {"use_default": True}, right="Actions")
        yield fixable("OIDC subject", "customised: the roles of AWS do not trust it", repository, change)


def _outside(repository: str, ask: Ask) -> Iterator[Diagnosis]:
    """Concurrency groups are the repository's: a workflow in a fork's pull request can name one of them."""
    what, wanted = "outside contributors", {"approval_policy": "all_external_contributors"}
    if ask(_APPROVAL).get("approval_policy") == wanted["approval_policy"]:
        yield passed(what, "runs of their pull requests wait for approval")
    else:
        found = "runs of pull requests start without approval, and can cancel a release"
        yield fixable(what, found, repository, GitHubChange("PUT", _APPROVAL, wanted))


def _label(repository: str, name: str, ask: Ask) -> Iterator[Diagnosis]:
    try:
        ask(f"/labels/{name}")
    except GitHubStatusError as error:
        if error.status != 404:
            raise
        body = {
            "name": name,
            "color": "5319e7",
            "description": "Workflows act on it: engine/docs/reference/workflows.md",
        }
        yield fixable(f"label {name}", "not there", repository, GitHubChange("POST", "/labels", body, right="Issues"))
    else:
        yield passed(f"label {name}", "there")


def _variables(ask: Ask, scope: DiagnosisScope) -> Iterator[Diagnosis]:
    there = {one["name"] for one in ask("/actions/variables?per_page=100")["variables"]}
    cloud = bool(there & {*_CLOUD})
    for name in _named(scope, "vars"):
        yield _held(f"variable {name}", name, there, f"gh variable set {name}", {} if cloud else _CLOUD)
    if cloud and _OF_ENVIRONMENTS in _named(scope, "vars"):
        for environment in scope.names.environments:
            own = {one["name"] for one in ask(f"/environments/{environment}/variables?per_page=100")["variables"]}
            fix = f"gh variable set {_OF_ENVIRONMENTS} --env {environment}"
            yield _held(f"variable {_OF_ENVIRONMENTS} of {environment}", _OF_ENVIRONMENTS, own, fix)


def _secrets(ask: Ask, scope: DiagnosisScope) -> Iterator[Diagnosis]:
    there = {one["name"] for one in ask("/actions/secrets?per_page=100")["secrets"]}
    for name in _named(scope, "secrets"):
        yield _held(f"secret {name}", name, there, f"gh secret set {name}")


def _held(what: str, name: str, there: set[str], fix: str, more: Mapping[str, str] | None = None) -> Diagnosis:
    if name in there:
        return passed(what, "set")
    optional = dict(ChainMap(OPTIONAL, dict(more or {}), *(extra() for extra in hooks("variables").values())))
    if name in optional:
        return Diagnosis(what, "optional", f"not set; for {optional[name]}", fix)
    return Diagnosis(what, "missing", "not set", fix)


def _named(scope: DiagnosisScope, kind: str) -> list[str]:
    return sorted(set(_found(scope, rf"\b{kind}\.([A-Z][A-Z0-9_]*)\b")) - _GIVEN)


def _found(scope: DiagnosisScope, pattern: str) -> Iterator[str]:
    for path in (scope.root / ".github" / "workflows").glob("*.yml"):
        yield from re.findall(pattern, path.read_text(encoding="utf-8"))


def _ruleset(scope: DiagnosisScope, repository: str, branch: str, ask: Ask) -> Iterator[Diagnosis]:
    """Require at least the rules of the file. Rulesets of the organisation count as well."""
    wanted = json.loads((scope.root / RULESET).read_text(encoding="utf-8"))
    active = ask(f"/rules/branches/{branch}?per_page=100")
    absent = sorted({rule["type"] for rule in wanted["rules"]} - {rule["type"] for rule in active})
    lacking = sorted(_checks_of(wanted["rules"]) - _checks_of(active))
    if not absent and not lacking:
        yield passed("ruleset", f"{len(wanted['rules'])} rules in force on {branch}")
        return
    there = ask("/rulesets?includes_parents=false&per_page=100")
    same = next((f"/{one['id']}" for one in there if one["name"] == wanted["name"]), "")
    change = GitHubChange("PUT" if same else "POST", f"/rulesets{same}", wanted, RULESET)
    yield fixable("ruleset", f"{branch} lacks: {', '.join([*absent, *lacking])}", repository, change)


def _checks_of(rules: list[dict[str, Any]]) -> set[str]:
    chosen = [rule for rule in rules if rule["type"] == "required_status_checks"]
    return {f"check {one['context']}" for rule in chosen for one in rule["parameters"]["required_status_checks"]}
