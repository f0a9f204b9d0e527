"""Actions of others are named by a commit that the ledger knows."""

from __future__ import annotations

import re
from collections.abc import Iterator

from policy.files import LEDGER, Repository

Row = tuple[str, str, str]
_ROW = re.compile(r"^\| ([\w./-]+) \| ([0-9a-f]{40}) \| (v[\d.]+) \|", re.MULTILINE)
_PINNED = re.compile(r"uses: ([\w.-]+(?:/[\w.-]+)+)@([0-9a-f]{40})\s+# (v\d[\d.]*)$")


def ledger(repository: Repository) -> set[Row]:
    """(action, commit, version) of every row."""
    return {(found[1], found[2], found[3]) for found in _ROW.finditer(repository.files[LEDGER])}


def used(repository: Repository) -> set[Row]:
    """(action, commit, version) of every action of others that is pinned."""
    return {row for _, _, row in _uses(repository) if row}


def faults_of_pins(repository: Repository) -> Iterator[str]:
    known = ledger(repository)
    for where, uses, row in _uses(repository):
        if row not in known:
            yield f"{where}: not a commit and its version in the ledger: {uses}"


def _uses(repository: Repository) -> Iterator[tuple[str, str, Row | None]]:
    """Where an action or workflow of others is used, its name, and how it is pinned."""
    places = [(file, where, step, place) for file, where, step, place in repository.steps()]
    for file in repository.workflows:
        places += [(file, f"{file.name} {name}", job, ("jobs", name)) for name, job in file.jobs.items()]
    for file, where, part, place in places:
        uses = str(part.get("uses", "./"))
        if not uses.startswith(("./", "docker://")):  # zizmor looks at images
            pinned = _PINNED.search(file.line(*place, "uses"))
            yield where, uses, (pinned[1], pinned[2], pinned[3]) if pinned else None
