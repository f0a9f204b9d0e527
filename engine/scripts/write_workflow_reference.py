"""Writes the tables in engine/docs/reference/workflows.md: `.venv/bin/python
engine/scripts/write_workflow_reference.py [FOLDER]`.

Everything in them is read from .github/workflows/: what a workflow is for is the comment at its top;
which jobs run in a new repository is evaluated as GitHub does (engine/tests/support/day_one.py). A test compares.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "engine" / "tests"))  # what reads .github/ for the contract tests reads it here too

from policy.files import File, Repository, expressions  # noqa: E402 - found by the line above
from sluice.template.owned import OWNED, read_list  # noqa: E402 - in order with the line above
from support.day_one import SITUATIONS, find, starts  # noqa: E402

FOLDER = ROOT / "engine" / "docs" / "reference"
BEGIN, END = "<!-- {}: begin -->\n", "<!-- {}: end -->\n"
DAY_ONE = "| when | workflow | runs |\n|---|---|---|\n"
HEAD = "| workflow | for | started by | may | secrets | variables |\n|---|---|---|---|---|---|\n"
NAMES = {
    "pull_request": "a pull request",
    "push": "a push",
    "schedule": "the clock",
    "workflow_dispatch": "hand",
    "branch_protection_rule": "a change of the branch rules",
    "merge_group": "a merge queue",
}


def purpose(file: File) -> str:
    """The first sentence of the comment above the name."""
    found = re.match(r"((?:# ?.*\n)+)name:", file.text)
    if not found:
        raise SystemExit(f"{file.path}: no comment above `name:` says what it is for")
    words = " ".join(line.lstrip("# ") for line in found[1].splitlines())
    return words.split(". ")[0].rstrip(".")


def starters(file: File, workflows: list[File]) -> Iterator[str]:
    for event, settings in file.triggers.items():
        settings = settings or {}
        if event == "workflow_call":
            callers = [
                other.name
                for other in workflows
                if any(str(job.get("uses", "")) == f"./{file.path}" for job in other.jobs.values())
            ]
            yield f"a call of {', '.join(callers)}" if callers else "a call"
        elif event == "schedule":
            yield "the clock, " + ", ".join(f"`{entry['cron']}`" for entry in settings)
        elif event == "workflow_run":
            yield f"the end of {', '.join(settings['workflows'])}"
        elif event == "workflow_dispatch" and settings.get("inputs"):
            yield f"hand, with {', '.join(f'`{name}`' for name in settings['inputs'])}"
        elif settings.get("tags"):
            yield f"{NAMES[event]} of a tag {', '.join(f'`{one}`' for one in settings['tags'])}"
        elif settings.get("branches"):
            yield f"{NAMES[event]} to {', '.join(settings['branches'])}"
        else:
            yield NAMES[event]


def rights(file: File) -> list[str]:
    """Each right that a job has, once."""
    levels = [pair for job in file.jobs.values() for pair in (job.get("permissions") or {}).items()]
    return list(dict.fromkeys(f"`{scope}: {level}`" for scope, level in levels))


def named(file: File, context: str) -> Iterator[str]:
    """The secrets or variables that expressions name; environments have their own of both."""
    found = {name for one in expressions(file.document) for name in re.findall(rf"\b{context}\.(\w+)", one)}
    yield from (f"`{name}`" for name in sorted(found))
    if context == "secrets":
        places = [job["environment"] for job in file.jobs.values() if "environment" in job]
        names = {str(place["name"] if isinstance(place, dict) else place) for place in places}
        yield from (f"those of the environment `{name}`" for name in sorted(names))


def row(file: File, workflows: list[File]) -> str:
    cells = (
        f"`{file.name}`",
        purpose(file),
        "; ".join(starters(file, workflows)),
        ", ".join(rights(file)) or "nothing",
        ", ".join(named(file, "secrets")) or "none",
        ", ".join(named(file, "vars")) or "none",
    )
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"


def day_one(repository: Repository, workflows: list[File]) -> Iterator[str]:
    """What each workflow does at first, one row for what is the same; a private repository's where it differs."""
    rows: dict[tuple[str, tuple[str, ...], str], list[str]] = {}
    for situation in SITUATIONS:
        if "Dependabot" in situation.name and not (ROOT / ".github" / "dependabot.yml").exists():
            continue
        for file in workflows:
            if starts(file, situation):
                public, private = (tuple(find(repository, file, situation, private=one).runs) for one in (False, True))
                rows.setdefault((file.name, public, ""), []).append(situation.name)
                if private != public:
                    rows.setdefault((file.name, private, "**private repository:** "), []).append(situation.name)
    for (name, runs, where), names in rows.items():
        jobs = ", ".join(f"`{job}`" for job in runs) or "none"
        yield f"| {where}{'; '.join(names)} | `{name}` | {jobs} |\n"


def put(page: str, name: str, table: str) -> str:
    """The page with another table between two comments."""
    begin, end = BEGIN.format(name), END.format(name)
    before, _, rest = page.partition(begin)
    return before + begin + table + end + rest.partition(end)[2]


def main(folder: Path) -> None:
    page = (FOLDER / "workflows.md").read_text(encoding="utf-8")
    # A project's own workflows are not the engine's to describe.
    owned, repository = read_list(ROOT, OWNED), Repository.read(ROOT)
    workflows = [one for one in repository.workflows if f".github/workflows/{one.name}" in owned]
    page = put(page, "table", HEAD + "".join(row(file, workflows) for file in workflows))
    page = put(page, "day one", DAY_ONE + "".join(day_one(repository, workflows)))
    (folder / "workflows.md").write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
