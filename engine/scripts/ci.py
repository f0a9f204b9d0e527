"""`python3 engine/scripts/ci.py plan|parts|outdated|artifact|passed|required|say`: steps that need no installation.

They run on a bare Python, with the standard library and the modules of the engine that need nothing else: what decides
which jobs run must not wait for what those jobs install.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "engine" / "src"))

from sluice.core.errors import SluiceError  # noqa: E402 - found by the line above
from sluice.core.extras import extras, hooks  # noqa: E402
from sluice.github import job_plan  # noqa: E402
from sluice.github.github_client import ends_well, has_artifact  # noqa: E402
from sluice.github.workflow_run import without_commands, write_job_summary, write_outputs  # noqa: E402


def plan(words: argparse.Namespace) -> list[str]:
    """Which jobs a change needs: outputs of the step, and the summary."""
    found = job_plan.plan_change(ROOT, words.base, rehearse=os.environ.get("REHEARSE") == "true")
    tell(job_plan.summary(found))
    write_outputs(job_plan.outputs(found), os.environ)
    return []


def parts(_: argparse.Namespace) -> list[str]:
    """The parts that config/project.yaml leaves on, as an output of the step."""
    write_outputs({"parts": " ".join(extras())}, os.environ)
    return []


def outdated(_: argparse.Namespace) -> list[str]:
    """The comment on an earlier push says so. Whether it could be written decides about nothing."""
    try:
        for mark in hooks("outdated").values():
            print(mark(os.environ, compares=os.environ.get("EVAL") == "true"))
    except SluiceError as error:  # a pull request from a fork has a token that only reads
        print(f"not marked: {error.message}")
    return []


def artifact(words: argparse.Namespace) -> list[str]:
    """Whether a run has an artifact, as an output of the step. Without an answer, who needs it has to look again."""
    try:
        found = has_artifact(words.of, words.name, os.environ)
    except SluiceError as error:
        print(f"not known: {error.message}")
        found = True
    write_outputs({"found": str(found).lower()}, os.environ)
    return []


def passed(words: argparse.Namespace) -> list[str]:
    """Whether a workflow's last run passed on this commit, as an output of the step. Without an answer it did not."""
    try:
        found = ends_well(words.workflow, os.environ)
    except SluiceError as error:
        print(f"not known: {error.message}")
        found = False
    write_outputs({"passed": str(found).lower()}, os.environ)
    return []


def required(_: argparse.Namespace) -> list[str]:
    """What keeps the change from being merged, of the results of all jobs in NEEDS."""
    outcomes = job_plan.judge(os.environ.get("NEEDS", ""))
    tell(job_plan.required_summary(outcomes))
    return [f"{one.job}: {one.result}: {one.fault}" for one in outcomes if one.fault]


def say(words: argparse.Namespace) -> list[str]:
    """One line in the log and in the summary: what is left out, and what would change that."""
    tell(words.text)
    return []


def tell(markdown: str) -> None:
    print(markdown)
    write_job_summary(markdown + "\n", os.environ)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("plan")
    one.add_argument("--base", required=True)
    one.set_defaults(run=plan)
    commands.add_parser("parts").set_defaults(run=parts)
    commands.add_parser("outdated").set_defaults(run=outdated)
    one = commands.add_parser("artifact")
    one.add_argument("--of", type=int, required=True)
    one.add_argument("--name", required=True)
    one.set_defaults(run=artifact)
    one = commands.add_parser("passed")
    one.add_argument("--workflow", required=True)
    one.set_defaults(run=passed)
    commands.add_parser("required").set_defaults(run=required)
    one = commands.add_parser("say")
    one.add_argument("text")
    one.set_defaults(run=say)
    words = parser.parse_args()
    try:
        faults = words.run(words)
    except SluiceError as error:
        faults = [f"{error.message}\n  -> {error.remedy}"]
    for fault in faults:
        print(f"error: {without_commands(fault)}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
