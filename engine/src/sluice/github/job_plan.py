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
# First rule that matches a path decides. `*` stands for any characters, `/` too.
RULES: tuple[tuple[str, frozenset[str]], ...] = (
    # Pages whose examples and messages tests of the engine follow.
    ("docs/canary.md", frozenset({ENGINE})),
    ("docs/extend.md", frozenset({ENGINE})),
    ("docs/hosted-models.md", frozenset({ENGINE})),
    ("docs/prompts.md", frozenset({ENGINE})),
    ("docs/troubleshooting.md", frozenset({ENGINE})),
    ("docs/*", frozenset()),
    ("engine/docs/*", frozenset({ENGINE})),  # tests compare pages with what they describe
    ("engine/CONTRIBUTING.md", frozenset()),
    ("engine/README.md", frozenset()),
    ("AGENTS.md", frozenset()),
    ("README.md", frozenset()),
    ("CHANGELOG.md", frozenset()),
    ("CONTRIBUTING.md", frozenset()),
    ("SECURITY.md", frozenset()),
    ("LICENSE", frozenset()),
    (".github/ISSUE_TEMPLATE/*", frozenset()),
    (".github/pull_request_template.md", frozenset()),
    (".github/CODEOWNERS", frozenset()),
    (".github/dependabot.yml", frozenset()),
    (".vscode/*", frozenset()),
    ("prompts/*", _ANSWERS | {"check-prompts"}),
    ("data.dvc", _ANSWERS),
    ("dvc-store/*", _ANSWERS),
    ("pipelines/params.yaml", _ANSWERS),
    ("pipelines/*", _ANSWERS | {ENGINE}),
    ("config/*", _OWN),
    ("src/*", _OWN),
    ("pyproject.toml", _OWN),
    ("k8s/base/*", _TESTS | {"check-manifests", "rehearse-release"}),
    ("engine/k8s/base/*", _ENGINE_TESTS | {"check-manifests", "rehearse-release"}),
    ("k8s/*", _TESTS | {"check-manifests"}),
    ("engine/k8s/*", _ENGINE_TESTS | {"check-manifests"}),
    ("engine/schemas/cluster/*", _ENGINE_TESTS | {"check-manifests"}),
    ("engine/schemas/*", _ENGINE_TESTS),
    ("loadtest/*", _TESTS | {"rehearse-release"}),
    ("tests/*", _TESTS),
    ("engine/tests/*", _ENGINE_TESTS),
    ("engine/benchmarks/*", frozenset({ENGINE})),
    ("notebooks/*", _TESTS),
    ("engine/scripts/setup.py", _ALL),
    ("engine/scripts/*", frozenset({ENGINE})),
    ("engine/Containerfile", frozenset({ENGINE})),
    (".containerignore", frozenset({ENGINE})),
)


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
    """The plan of what `head` changes since it left `base`, a commit; everything where git cannot tell."""
    try:
        tip = git.resolve(root, head)
        return plan_for(git.changed(root, git.merge_base(root, git.resolve(root, base), tip), tip))
    except SluiceError as error:
        return everything(error.message)


def summary(plan: JobPlan) -> str:
    """Markdown for the summary of the job."""
    rows = [(job, "yes", plan.reasons[job]) if plan.asks_for(job) else (job, "no", _why_not(plan, job)) for job in JOBS]
    return "### What this change needs\n\n" + table(("job", "runs", "because of"), rows)


def _why_not(plan: JobPlan, job: str) -> str:
    return plan.omitted.get(job, "no path that it depends on")
