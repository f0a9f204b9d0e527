"""Selects the CI jobs that a change needs from its paths.

Every kind is the name of a job in ci.yml. A path with a rule selects the jobs of that rule; a path without a rule
selects all jobs, and so does any doubt: no base, no difference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from sluice.core import git
from sluice.core.errors import SluiceError
from sluice.github.markdown_table import table

# Reads every file and takes a minute or two: asked for always.
ALWAYS = "check-code"
# Minutes of tests of the engine itself, which a project that only uses it never changes.
ENGINE = "test-engine"
JOBS = (ALWAYS, "test-python", ENGINE, "check-prompts", "eval-change", "check-manifests", "rehearse-release")
_ALL = frozenset(JOBS)
_OWN = _ALL - {ENGINE}
_TESTS = frozenset({"test-python"})
_ENGINE_TESTS = frozenset({"test-python", ENGINE})
_ANSWERS = frozenset({"test-python", "eval-change", "rehearse-release"})
_ENGINE_ALONE = frozenset({ENGINE})
_NOTHING: frozenset[str] = frozenset()
# First rule that matches a path decides. `*` stands for any characters, `/` too.
_PATTERNS: tuple[tuple[str, frozenset[str]], ...] = (
    # Pages whose examples and messages tests of the engine follow.
    ("docs/canary.md docs/extend.md docs/hosted-models.md docs/prompts.md docs/troubleshooting.md", _ENGINE_ALONE),
    ("docs/* engine/CONTRIBUTING.md engine/README.md .github/ISSUE_TEMPLATE/* .vscode/*", _NOTHING),
    ("AGENTS.md README.md CHANGELOG.md CONTRIBUTING.md SECURITY.md LICENSE", _NOTHING),
    (".github/pull_request_template.md .github/CODEOWNERS .github/dependabot.yml", _NOTHING),
    ("engine/docs/*", _ENGINE_ALONE),  # tests compare pages with what they describe
    ("prompts/*", _ANSWERS | {"check-prompts"}),
    ("data.dvc dvc-store/* pipelines/params.yaml", _ANSWERS),
    ("pipelines/*", _ANSWERS | {ENGINE}),
    ("config/* src/* pyproject.toml", _OWN),
    ("k8s/base/*", _TESTS | {"check-manifests", "rehearse-release"}),
    ("engine/k8s/base/*", _ENGINE_TESTS | {"check-manifests", "rehearse-release"}),
    ("k8s/*", _TESTS | {"check-manifests"}),
    ("engine/k8s/* engine/schemas/cluster/*", _ENGINE_TESTS | {"check-manifests"}),
    ("engine/schemas/* engine/tests/*", _ENGINE_TESTS),
    ("loadtest/*", _TESTS | {"rehearse-release"}),
    ("tests/* notebooks/*", _TESTS),
    ("engine/scripts/setup.py", _ALL),
    ("engine/benchmarks/* engine/scripts/* engine/Containerfile .containerignore", _ENGINE_ALONE),
)
RULES = tuple((pattern, jobs) for patterns, jobs in _PATTERNS for pattern in patterns.split())


@dataclass(frozen=True)
class JobPlan:
    """`reasons`: job -> why it is asked for; jobs that are not in it are left out. `omitted`: job -> why it is left out
    although a path asks for it."""

    reasons: Mapping[str, str]
    omitted: Mapping[str, str] = field(default_factory=dict)

    def asks_for(self, job: str) -> bool:
        return job in self.reasons

    def outputs(self) -> dict[str, str]:
        """The outputs of the job `plan`: `true` or `false` for each job."""
        return {job: "true" if self.asks_for(job) else "false" for job in JOBS}

    def omit(self, job: str, reason: str) -> JobPlan:
        """The plan without a job that cannot run in this repository."""
        if job not in self.reasons:
            return self
        return JobPlan({name: why for name, why in self.reasons.items() if name != job}, {**self.omitted, job: reason})


def jobs_for(path: str) -> frozenset[str]:
    """What a change of one path asks for, beyond what is always done."""
    return next((jobs for pattern, jobs in RULES if fnmatchcase(path, pattern)), _ALL)


def plan_for(paths: Sequence[str]) -> JobPlan:
    """The plan of a change of these paths; of no path at all: everything."""
    if not paths:
        return everything("nothing seems to have changed")
    reasons = {ALWAYS: "always"}
    for job in JOBS:
        asking = [path for path in paths if job in jobs_for(path)]
        if asking and job != ALWAYS:
            reasons[job] = asking[0] + (f" and {len(asking) - 1} more" if len(asking) > 1 else "")
    return JobPlan(reasons)


def everything(reason: str) -> JobPlan:
    return JobPlan(dict.fromkeys(JOBS, reason))


def plan_change(root: Path, base: str, head: str = "HEAD") -> JobPlan:
    """The plan of what a commit changes since it left another; everything where git cannot tell.

    Args:
        root: The checkout.
        base: Branch, tag or commit that the change is for.
        head: The change.
    """
    try:
        tip = git.resolve(root, head)
        return plan_for(git.changed(root, git.merge_base(root, git.resolve(root, base), tip), tip))
    except SluiceError as error:
        return everything(error.message)


def summary(plan: JobPlan) -> str:
    """Markdown for the summary of the job."""
    why_not = dict.fromkeys(JOBS, "no path that it depends on") | dict(plan.omitted)
    rows = [(job, "yes", plan.reasons[job]) if plan.asks_for(job) else (job, "no", why_not[job]) for job in JOBS]
    return "### What this change needs\n\n" + table(("job", "runs", "because of"), rows)
