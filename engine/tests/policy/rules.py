"""Rules for every workflow that zizmor does not check, and the ledger of pinned actions."""

import re
import shlex
from collections.abc import Iterator
from typing import Any

from policy import answers
from policy.files import LEDGER, File, Repository

# Others start a workflow with its rights and their words: a comment, an issue, a fork's pull request, another run.
TRIGGERS = {
    "branch_protection_rule", "merge_group", "pull_request", "push", "schedule", "workflow_call", "workflow_dispatch",
}  # fmt: skip
# A step is one command of the project, or of a vendor where only that can do it.
COMMANDS = (
    ("make",),
    (".venv/bin/sluice",),
    ("python3", "engine/scripts/ci.py"),  # what needs no installation
    ("aws", "eks", "update-kubeconfig"),
)
LONGEST_RUN = 5
LONGEST_JOB_MINUTES = 360
AGGREGATE = "required"
Row = tuple[str, str, str]  # action, commit, version
_ROW = re.compile(r"^\| ([\w./-]+) \| ([0-9a-f]{40}) \| (v[\d.]+) \|", re.MULTILINE)
_PINNED = re.compile(r"uses: ([\w.-]+(?:/[\w.-]+)+)@([0-9a-f]{40})\s+# (v\d[\d.]*)$")


def faults_of_rules(repository: Repository) -> list[str]:
    found: list[str] = []
    for file in repository.workflows:
        found += [f"{file.name}: {why}" for rule in (_head, _triggers, _concurrency, _aggregate) for why in rule(file)]
        for name, job in file.jobs.items():
            found += [f"{file.name} {name}: {what}" for what in _job(job)]
    for _, where, step, _ in repository.steps():
        found += [f"{where}: {what}" for rule in (_run, _soft) for what in rule(step)]
    return found


def _head(file: File) -> Iterator[str]:
    if file.document.get("permissions") != {}:
        yield "does not begin with `permissions: {}`"
    if not file.jobs:
        yield "has no jobs"


def _triggers(file: File) -> Iterator[str]:
    for trigger in file.triggers:
        excepted = trigger == "workflow_run" and file.name == answers.NAME  # held to rules of its own
        if trigger not in TRIGGERS and not excepted:
            yield f"is started by {trigger}: with rights, by what others write"
    if not file.triggers:
        yield "has no trigger"


def _concurrency(file: File) -> Iterator[str]:
    """A newer push of a pull request cancels the run of the older one; nothing else is ever cancelled."""
    concurrency = file.document.get("concurrency")
    triggers = set(file.triggers) - {"merge_group"}
    if triggers == {"workflow_call"}:
        if concurrency is not None:
            yield "has concurrency of its own: its caller has the one that counts"
        return
    if not isinstance(concurrency, dict) or not concurrency.get("group"):
        yield "has no concurrency group"
        return
    cancels = concurrency.get("cancel-in-progress")
    if cancels is not (triggers == {"pull_request"}):
        yield f"cancel-in-progress is {cancels}: true for pull requests alone, false for anything else"


def _aggregate(file: File) -> Iterator[str]:
    """A branch rule asks for one job, so that one has to wait for all, and to run whatever became of them."""
    if "pull_request" not in file.triggers:
        return
    if not (job := file.jobs.get(AGGREGATE)):
        yield f"has no job `{AGGREGATE}`"
        return
    if job.get("if") != "always()":
        yield f"`{AGGREGATE}` does not run always"
    needs = {job["needs"]} if isinstance(job.get("needs"), str) else set(job.get("needs") or ())
    if missing := sorted(set(file.jobs) - {AGGREGATE} - needs):
        yield f"`{AGGREGATE}` does not wait for {', '.join(missing)}"


def _job(job: dict[str, Any]) -> Iterator[str]:
    if not isinstance(job.get("permissions"), dict):
        yield "its rights are not listed one by one"
    minutes = job.get("timeout-minutes")
    if "uses" not in job and not (isinstance(minutes, int) and 0 < minutes <= LONGEST_JOB_MINUTES):
        yield "has no time limit"
    yield from _soft(job)


def _soft(part: dict[str, Any]) -> Iterator[str]:
    if part.get("continue-on-error", False) is not False:
        yield "continue-on-error: a failure would look like a success"


def _run(step: dict[str, Any]) -> Iterator[str]:
    if "run" not in step:
        return
    script = str(step["run"]).strip()
    if len(script.splitlines()) > LONGEST_RUN:
        yield f"a script of {len(script.splitlines())} lines"
    elif not _is_one_command(script):
        yield f"not one command of the project: {script}"


def _is_one_command(script: str) -> bool:
    """One call of a program in COMMANDS: nothing is piped, redirected, chained or substituted."""
    if "$(" in script or "`" in script or "<(" in script:
        return False
    reader = shlex.shlex(script.replace("\\\n", " "), posix=True, punctuation_chars=True)
    reader.whitespace = " \t"
    reader.whitespace_split = True
    try:
        words = list(reader)
    except ValueError:
        return False
    if any(set(word) <= set("();<>|&") or "\n" in word for word in words):
        return False
    return any(tuple(words[: len(command)]) == command for command in COMMANDS)


def ledger(repository: Repository) -> set[Row]:
    return {(found[1], found[2], found[3]) for found in _ROW.finditer(repository.files[LEDGER])}


def used(repository: Repository) -> set[Row]:
    return {row for _, _, row in _uses(repository) if row}


def faults_of_pins(repository: Repository) -> Iterator[str]:
    known = ledger(repository)
    for where, uses, row in _uses(repository):
        if row not in known:
            yield f"{where}: not a commit and its version in the ledger: {uses}"


def _uses(repository: Repository) -> Iterator[tuple[str, str, Row | None]]:
    places = [(file, where, step, place) for file, where, step, place in repository.steps()]
    for file in repository.workflows:
        places += [(file, f"{file.name} {name}", job, ("jobs", name)) for name, job in file.jobs.items()]
    for file, where, part, place in places:
        uses = str(part.get("uses", "./"))
        if not uses.startswith(("./", "docker://")):  # zizmor looks at images
            pinned = _PINNED.search(file.line(*place, "uses"))
            yield where, uses, (pinned[1], pinned[2], pinned[3]) if pinned else None
