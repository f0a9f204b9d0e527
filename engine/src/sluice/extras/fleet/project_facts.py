"""What a commit of a project says about itself: its engine, edits of it, gates, extras, pins of its locks."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from sluice.core.atomic_files import read_json, write_json
from sluice.core.digests import digest_of_file
from sluice.core.errors import SluiceError
from sluice.core.extras import FOLDER
from sluice.core.project import load_project
from sluice.core.settings import Settings
from sluice.extras.fleet.repository_reader import GitMirror
from sluice.extras.upgrade.engine_wheel import read_lock
from sluice.extras.upgrade.versions import check_out, fetch_version
from sluice.template.owned import ENGINE, OWNED, edits, read_list, refused, version_of, walk

_GATES = Path("config/gates.yaml")
_PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?==([^\s;\\]+)", re.MULTILINE)
_CODE = digest_of_file(Path(__file__))[:12]  # facts that other code has found are read anew


class ProjectFacts(Settings):
    """`edited`: files of the engine that are not the template's, each with what to use in its place; `adopted`: those
    that the project may edit and has. `gates`: the text of config/gates.yaml. `pins`: versions by package."""

    name: str
    version: str
    edited: tuple[str, ...]
    adopted: tuple[str, ...]
    extras: tuple[str, ...]
    without: tuple[str, ...]
    environments: tuple[str, str]
    gates: str
    pins: dict[str, tuple[str, ...]]


def read_facts(mirror: GitMirror, commit: str, template: GitMirror) -> ProjectFacts:
    """The facts of a commit; those that were found before are kept, for a commit does not change."""
    kept = mirror.folder / "facts" / f"{commit}-{_CODE}.json"
    if kept.is_file():
        return ProjectFacts.model_validate(read_json(kept))
    if not mirror.has(commit):
        mirror.fetch(commit)
    with tempfile.TemporaryDirectory(prefix="fleet-") as name:
        files = check_out(mirror.folder, commit, Path(name) / "files")
        try:
            _bring_engine(files, template)
            facts = _facts(files)
        except SluiceError as error:
            said = error.message.replace(f"{files}/", "")
            raise SluiceError(said, remedy="a project is made from the template, and has all of its engine") from None
    kept.parent.mkdir(exist_ok=True)
    write_json(kept, facts.model_dump(mode="json"))
    return facts


def _bring_engine(root: Path, template: GitMirror) -> None:
    """Of an installed engine the template's files are looked at, not what a project's own address serves."""
    if lock := read_lock(root):
        with tempfile.TemporaryDirectory(prefix="fleet-") as name:
            (fetch_version(str(template.folder), lock.version, Path(name)) / ENGINE).rename(root / ENGINE)


def _facts(root: Path) -> ProjectFacts:
    project = load_project(root / "config")
    found = edits(root, walk(root))
    foreign = refused(found, project.adopted, read_list(root, OWNED))
    engine = root / "engine" / "requirements"
    pins: dict[str, set[str]] = {}
    for lock in [*engine.glob("*.txt"), *(root / FOLDER).glob("*/requirements/*.txt")]:
        for package, version in _PIN.findall(_text(lock)):
            pins.setdefault(re.sub(r"[-_.]+", "-", package).lower(), set()).add(version)
    return ProjectFacts(
        name=project.name,
        version=version_of(root),
        edited=tuple(map(str, foreign)),
        adopted=tuple(one.path for one in found if one not in foreign),
        extras=tuple(sorted({path.parent.name for path in (root / FOLDER).glob("*/__init__.py")} - {*project.without})),
        without=project.without,
        environments=project.environments,
        gates=_text(root / _GATES),
        pins={package: tuple(sorted(versions)) for package, versions in sorted(pins.items())},
    )


def _text(path: Path) -> str:
    """Of a file as it may come; empty where it is none, such as a link to nowhere."""
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
