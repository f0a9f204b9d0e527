"""What each workflow does in a new repository in which nothing is set: which jobs run, which are skipped, what is said.

Conditions and outputs are evaluated as GitHub does (github_expressions.py); events have the fields of GitHub's webhook
payloads that conditions ask for (docs.github.com, "Webhook events and payloads"; a scheduled run has the repository
too: github.blog, changelog of 2022-09-27). The plan of a pull request is the real one, from its paths. Every step is
taken to succeed: engine/tests/workflows/test_day_one.py runs the same events with act, and compares.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from policy.files import File, Repository
from sluice.core.extras import extras
from sluice.github.job_plan import outputs, plan_for
from support.github_expressions import evaluate, runs

NAME = "octo/app"
PROMPT, PAGE, PINS = "prompts/answer.prompt.yml", "docs/set-up.md", ".github/workflows/ci.yml"
CLOCK = "schedule"
_SAYS = re.compile(r'engine/scripts/ci\.py say "(.*)"')


@dataclass(frozen=True)
class Situation:
    """An event on the default branch. `change`: what the payload adds; `releases`: something is to be released."""

    name: str
    event: str
    paths: tuple[str, ...] = ()
    change: Mapping[str, Any] = field(default_factory=dict)
    actor: str = "octocat"
    releases: bool = True
    clock: str = ""
    branch: str = "main"

    def github(self, *, private: bool) -> dict[str, Any]:
        repository = {"full_name": NAME, "default_branch": self.branch, "private": private, "is_template": False}
        event = {"repository": repository, **self.change}
        return {"event_name": self.event, "event": event, "ref_name": self.branch, "actor": self.actor}

    def outputs(self) -> dict[str, dict[str, dict[str, str]]]:
        plan = outputs(plan_for(self.paths)) if self.event in ("pull_request", "merge_group") else {}
        environments = {"first": "staging", "last": "production"}
        decided = {"make": str(self.releases).lower(), "unknown": "", "parts": " ".join(extras())}
        candidate = {"verdict": "candidate", "release": "r-000000000000", "folder": ".sluice/releases/r-000000000000"}
        waiting = {"parts": {"parts": decided["parts"]}, "requests": {"found": "false"}}
        steps = {"plan": plan or decided, "project": environments}
        return {"plan": steps, "release": {"stage": candidate}, "waiting": waiting}


def _pull_request(name: str, *paths: str, head: str = NAME, actor: str = "octocat") -> Situation:
    pull = {"labels": [], "head": {"repo": {"full_name": head, "fork": head != NAME}}}
    return Situation(name, "pull_request", paths, {"action": "opened", "pull_request": pull}, actor)


def _ended(name: str, conclusion: str) -> Situation:
    run = {"name": "ci", "event": "pull_request", "conclusion": conclusion, "id": 500, "run_attempt": 1}
    return Situation(name, "workflow_run", change={"action": "completed", "workflow_run": run})


SITUATIONS = (
    Situation("first push", "push"),
    Situation("first push to `trunk`", "push", branch="trunk"),
    _pull_request("first pull request of a prompt", PROMPT),
    Situation("merge queue", "merge_group", (PROMPT,), {"action": "checks_requested"}),
    _pull_request("pull request of a page", PAGE),
    _pull_request("pull request of Dependabot", PINS, actor="dependabot[bot]"),
    _pull_request("pull request of a fork", PROMPT, head="somebody/app"),
    _ended("the end of a green `ci`", "success"),
    _ended("the end of a red `ci`", "failure"),
    Situation("merge of a prompt", "push", (PROMPT,)),
    Situation("merge of a page", "push", (PAGE,), releases=False),
    Situation("the night", CLOCK, clock="37 1 * * *", releases=False),
    Situation("the night", CLOCK, clock="17 3 * * 1-6"),
    Situation("Monday", CLOCK, clock="41 5 * * 1"),
    Situation("Saturday", CLOCK, clock="47 4 * * 6"),
)


@dataclass(frozen=True)
class Found:
    runs: tuple[str, ...]
    skipped: tuple[str, ...]
    says: tuple[str, ...]


def starts(file: File, situation: Situation) -> bool:
    if situation.event not in file.triggers:
        return False
    settings = file.triggers[situation.event] or {}
    if situation.event == CLOCK:
        return situation.clock in [entry["cron"] for entry in settings]
    if situation.event == "workflow_run" and situation.change["workflow_run"]["name"] not in settings["workflows"]:
        return False
    if "tags" in settings and "branches" not in settings:
        return False  # nothing here pushes a tag
    branch, action = situation.branch, situation.change.get("action")
    return branch in settings.get("branches", [branch]) and action in settings.get("types", [action])


def find(repository: Repository, file: File, situation: Situation, *, private: bool = False) -> Found:
    context: dict[str, Any] = {"github": situation.github(private=private), "vars": {}, "secrets": {}, "inputs": {}}
    results: dict[str, str] = {}
    outputs: dict[str, dict[str, Any]] = {}
    says: list[str] = []
    for name, job in file.jobs.items():  # in an order in which needs come first
        before = ancestors(file.jobs, name)
        given = {one: {"result": results[one], "outputs": outputs.get(one, {})} for one in needs_of(job)}
        inside = context | {"needs": given}
        if not runs(job.get("if", ""), inside, {one: results[one] for one in before}):
            results[name] = "skipped"
            continue
        results[name] = "success"
        called = repository.workflow(str(job["uses"])) if "uses" in job else None
        outputs[name], said = _run(job, called, inside, situation.outputs().get(name, {}))
        says += said
    ran = tuple(name for name, result in results.items() if result == "success")
    return Found(ran, tuple(name for name in results if name not in ran), tuple(dict.fromkeys(says)))


def _run(
    job: Mapping[str, Any], called: File | None, context: dict[str, Any], steps: Mapping[str, Mapping[str, str]]
) -> tuple[dict[str, Any], list[str]]:
    if called is None:
        inside = context | {"steps": {name: {"outputs": values} for name, values in steps.items()}}
        inside |= {"env": {name: _value(text, inside) for name, text in (job.get("env") or {}).items()}}
        told = [line for step in job["steps"] if runs(step.get("if", ""), inside, {}) for line in _said(step, inside)]
        return {name: _value(text, inside) for name, text in (job.get("outputs") or {}).items()}, told
    inside = context | {"inputs": {name: _value(text, context) for name, text in (job.get("with") or {}).items()}}
    done, said = {}, []
    for name, inner in called.jobs.items():
        if runs(inner.get("if", ""), inside, {}):
            values, lines = _run(inner, None, inside, {})
            done[name] = {"outputs": values}
            said += lines
    given = (called.triggers["workflow_call"] or {}).get("outputs", {})
    return {name: _value(one["value"], {"jobs": done}) for name, one in given.items()}, said


def _said(step: Mapping[str, Any], context: Mapping[str, Any]) -> Iterator[str]:
    found = _SAYS.search(step.get("run", ""))
    if found:
        yield re.sub(r"\$(\w+)", lambda name: str(context["env"][name[1]]), found[1])


def _value(text: Any, context: Mapping[str, Any]) -> Any:
    found = re.fullmatch(r"\$\{\{(.*)\}\}", str(text).strip(), re.DOTALL)
    value = evaluate(found[1], context) if found else text
    return str(value).lower() if isinstance(value, bool) else value


def needs_of(job: Mapping[str, Any]) -> list[str]:
    needs = job.get("needs") or []
    return [needs] if isinstance(needs, str) else list(needs)


def ancestors(jobs: Mapping[str, Any], name: str) -> set[str]:
    return {one for need in needs_of(jobs[name]) for one in {need, *ancestors(jobs, need)}}
