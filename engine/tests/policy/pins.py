"""Code of others is named by its content: actions by a commit that the ledger knows, images by digest."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from policy.files import LEDGER, Repository

Row = tuple[str, str, str]
_ROW = re.compile(r"^\| ([\w./-]+) \| ([0-9a-f]{40}) \| (v[\d.]+) \|", re.MULTILINE)
_PINNED = re.compile(r"([\w.-]+(?:/[\w.-]+)+)@([0-9a-f]{40})")
_COMMENT = re.compile(r"\s# (v\d[\d.]*)$")
_IMAGE = re.compile(r"(?:docker://)?[\w.:/-]+@sha256:[0-9a-f]{64}")


def ledger(repository: Repository) -> set[Row]:
    """(action, commit, version) of every row."""
    return {(found[1], found[2], found[3]) for found in _ROW.finditer(repository.files[LEDGER])}


def used(repository: Repository) -> set[Row]:
    """(action, commit, version) of every action of others that is used."""
    found = set()
    for uses, line in _uses(repository):
        pinned, comment = _PINNED.fullmatch(uses[1]), _COMMENT.search(line)
        if pinned and comment:
            found.add((pinned[1], pinned[2], comment[1]))
    return found


def faults_of_pins(repository: Repository) -> list[str]:
    return [*_faults_of_actions(repository), *_faults_of_images(repository)]


def _uses(repository: Repository) -> Iterator[tuple[tuple[str, str], str]]:
    """((where, what is used), its line), of steps and of jobs."""
    for file, where, step, place in repository.steps():
        if "uses" in step:
            yield (where, str(step["uses"])), file.line(*place, "uses")
    for file in repository.workflows:
        for name, job in file.jobs.items():
            if "uses" in job:
                yield (f"{file.name} {name}", str(job["uses"])), file.line("jobs", name, "uses")


def _faults_of_actions(repository: Repository) -> Iterator[str]:
    known = ledger(repository)
    commits = {(action, commit) for action, commit, _ in known}
    for (where, uses), line in _uses(repository):
        if uses.startswith(("./", "docker://")):
            continue
        pinned, comment = _PINNED.fullmatch(uses), _COMMENT.search(line)
        if not pinned:
            yield f"{where}: not pinned to a commit: {uses}"
        elif (pinned[1], pinned[2]) not in commits:
            yield f"{where}: not in the ledger: {uses}"
        elif not comment or (pinned[1], pinned[2], comment[1]) not in known:
            yield f"{where}: no comment with the version that the ledger has: {uses}"


def _faults_of_images(repository: Repository) -> Iterator[str]:
    for where, image in _images(repository):
        if not _IMAGE.fullmatch(image):
            yield f"{where}: an image that is not named by digest: {image}"


def _images(repository: Repository) -> Iterator[tuple[str, str]]:
    for file in repository.workflows:
        for name, job in file.jobs.items():
            services = (job.get("services") or {}).values()
            for container in (job.get("container"), *services):
                if container is not None:
                    yield f"{file.name} {name}", _image(container)
    for (where, uses), _ in _uses(repository):
        if uses.startswith("docker://"):
            yield where, uses
    for file in repository.actions:
        image = (file.document.get("runs") or {}).get("image")
        if image is not None:
            yield file.name, str(image)


def _image(container: Any) -> str:
    return str(container.get("image") if isinstance(container, dict) else container)
