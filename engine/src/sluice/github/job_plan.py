"""Selects the CI jobs that a change needs from its paths, and judges whether all planned jobs succeeded.

Kinds are jobs of ci.yml. A path without a rule and any doubt select all jobs. A skipped job passes only if the plan
omitted it, unlike GitHub's own rule.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from sluice.core import git
from sluice.core.errors import SluiceError
from sluice.core.extras import extras
from sluice.core.text import table
from sluice.github.workflow_run import jobs_of

PLAN = "plan"
# Reads every file and takes a minute or two: asked for always.
ALWAYS = "check"
# Minutes of tests of the engine itself: the template asks for them, a project has the part `engine_tests` off.
ENGINE = "test-engine"
REHEARSE = "rehearse"
JOBS = (ALWAYS, "test", ENGINE, "eval", REHEARSE)
WANTED = tuple(job for job in JOBS if job != ENGINE or "engine_tests" in extras())
_ALL = frozenset(JOBS)
_OWN = _ALL - {ENGINE}
_TESTS = frozenset({"test"})
_ENGINE_TESTS = frozenset({"test", ENGINE})
# A prompt or data change answers alone: what a canary would see of it, the comparison has seen.
_ANSWERS = frozenset({"test", "eval"})
_ENGINE_ALONE = frozenset({ENGINE})
_NOTHING: frozenset[str] = frozenset()
# First rule that matches a path decides. `*` stands for any characters, `/` too.
_PATTERNS: tuple[tuple[str, frozenset[str]], ...] = (
    # Pages whose examples and messages tests of the engine follow.
    ("docs/canary.md docs/extend.md docs/hosted-models.md docs/prompts.md docs/troubleshooting.md", _ENGINE_ALONE),
    ("docs/* engine/CONTRIBUTING.md engine/README.md .github/ISSUE_TEMPLATE/* .vscode/*", _NOTHING),
    ("AGENTS.md README.md CHANGELOG.md CONTRIBUTING.md SECURITY.md LICENSE .agents/* .devcontainer/*", _NOTHING),
    (".github/pull_request_template.md .github/CODEOWNERS .github/dependabot.yml", _NOTHING),
    ("engine/docs/*", _ENGINE_ALONE),  # tests compare pages with what they describe
    ("prompts/* data.dvc dvc-store/* pipelines/params.yaml", _ANSWERS),
    ("pipelines/*", _ANSWERS | {ENGINE}),
    ("config/* src/* pyproject.toml", _OWN),
    ("k8s/* loadtest/*", _TESTS | {REHEARSE}),
    ("engine/k8s/*", _ENGINE_TESTS | {REHEARSE}),
    ("engine/schemas/* engine/tests/*", _ENGINE_TESTS),
    ("tests/* notebooks/*", _TESTS),
    ("engine/scripts/setup.py engine/scripts/ci.py", _ALL),
    ("engine/benchmarks/* engine/scripts/* engine/Containerfile .containerignore", _ENGINE_ALONE),
)
RULES = tuple((pattern, jobs) for patterns, jobs in _PATTERNS for pattern in patterns.split())


# The reason for each job that runs; the others are left out.
JobPlan = Mapping[str, str]


def outputs(plan: JobPlan) -> dict[str, str]:
    """Return the outputs of the job `plan`: `true` or `false` for each job, and the active parts."""
    return {job: "true" if job in plan else "false" for job in JOBS} | {"parts": " ".join(extras())}


def jobs_for(path: str) -> frozenset[str]:
    return next((jobs for pattern, jobs in RULES if fnmatchcase(path, pattern)), _ALL)


def plan_for(paths: Sequence[str]) -> JobPlan:
    """Return the plan of a change of these paths; without paths, everything."""
    if not paths:
        return dict.fromkeys(WANTED, "nothing seems to have changed")
    reasons = {ALWAYS: "always"}
    for job in WANTED:
        asking = [path for path in paths if job in jobs_for(path)]
        if asking and job != ALWAYS:
            reasons[job] = asking[0] + (f" and {len(asking) - 1} more" if len(asking) > 1 else "")
    return reasons


def plan_change(root: Path, base: str, *, rehearse: bool = False) -> JobPlan:
    """Return the plan of HEAD's change since it left `base`; everything if git can't tell."""
    try:
        tip = git.resolve(root, "HEAD")
        found = plan_for(git.changed(root, git.merge_base(root, git.resolve(root, base), tip), tip))
        return {REHEARSE: "asked for", **found} if rehearse else found
    except SluiceError as error:
        return dict.fromkeys(WANTED, error.message)


def summary(plan: JobPlan) -> str:
    said = {job: ("yes", reason) for job, reason in plan.items()}
    rows = [(job, *said.get(job, ("no", "no path that it depends on"))) for job in WANTED]
    return "### What this change needs\n\n" + table(("job", "runs", "because of"), rows)


@dataclass(frozen=True)
class JobOutcome:
    job: str
    result: str
    fault: str = ""


def judge(needs: str) -> list[JobOutcome]:
    """Return an outcome for each job in the JSON of the context `needs`."""
    found = jobs_of(needs)
    if PLAN not in found:
        raise SluiceError("NEEDS: no job `plan`", remedy="name it under `needs:`, beside every job that it plans")
    planned = found[PLAN].get("outputs") or {}
    if (found.get("eval", {}).get("outputs") or {}).get("waiting") == "true":  # rehearsed after its verdict
        planned = {**planned, REHEARSE: "false"}
    odd = [job for job in JOBS if planned.get(job) not in ("true", "false")]
    fault = f"it says neither true nor false for {', '.join(odd)}" if odd else ""
    if (result := str(found[PLAN].get("result"))) != "success":
        fault = "without a plan nothing else can be believed"
    outcomes = [JobOutcome(PLAN, result, fault)]
    outcomes += [_of_job(job, str(facts.get("result")), planned) for job, facts in found.items() if job != PLAN]
    outcomes += [JobOutcome(job, "absent", "it is planned, but not under `needs:`") for job in JOBS if job not in found]
    return outcomes


def _of_job(job: str, result: str, planned: Mapping[str, Any]) -> JobOutcome:
    if result == "success" or (result == "skipped" and planned.get(job) == "false"):
        return JobOutcome(job, result)
    if result != "skipped":
        return JobOutcome(job, result, "it has to succeed")
    why = "the plan asked for it" if planned.get(job) == "true" else "no plan allows to skip it"
    return JobOutcome(job, result, why)


def required_summary(outcomes: list[JobOutcome]) -> str:
    rows = [(one.job, one.result, one.fault or ("not needed" if one.result == "skipped" else "")) for one in outcomes]
    return "### Required\n\n" + table(("job", "result", ""), rows)
