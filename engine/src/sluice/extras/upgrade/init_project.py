"""`sluice init`: the names of a project, in config/, prompts/ and the overlays, in one staged change.

Everything is worked out in memory before it is written; a second run changes nothing.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sluice.core.atomic_files import write_atomic
from sluice.core.errors import SluiceError
from sluice.core.git import run
from sluice.core.project import PROJECT, Project, edit_project, load_project
from sluice.core.settings import read_yaml
from sluice.core.workspace import Workspace
from sluice.release import starter
from sluice.template.owned import ENGINE, TEMPLATE_FILES, list_files

# The pointer to the starter data, and the remote that holds them.
STARTER = ("data.dvc", "dvc-store/")
_SERVICE, _PARAMS = "config/service.yaml", "pipelines/params.yaml"
_CHUNKER = "chunker: {name: paragraph, max_words: 120}"
_DECLINE = "The documents do not say."
_OWNERS = ".github/CODEOWNERS"
_OVERLAYS = "k8s/overlays"
_SAGEMAKER = "config/sagemaker.yaml"


@dataclass(frozen=True)
class FileChange:
    old: str
    new: str
    text: str


@dataclass(frozen=True)
class InitPlan:
    """`data`: the files of the starter data by their place in data/, of which a project keeps the guard's rows."""

    changes: list[FileChange]
    removed: list[str]
    data: Mapping[str, Path] = field(default_factory=dict)

    @property
    def empty(self) -> bool:
        return not self.changes and not self.removed


def require_clean(root: Path, writes: Collection[str] = (), own: tuple[str, ...] = ()) -> None:
    """Refuse a checkout that `git reset --hard` would not bring back; untracked files count in `writes` and the engine,
    and paths with a prefix of `own` do not."""
    status = run(root, "status", "--porcelain", "--no-renames", "--untracked-files=all", "-z").split("\0")
    entries = [(line[:2], line[3:]) for line in status if line and not line[3:].startswith(own)]
    if paths := [path for state, path in entries if state != "??" or path in writes or path.startswith(ENGINE)]:
        remedy = "commit them, or `git stash --include-untracked`, so that `git reset --hard` can undo this"
        raise SluiceError(f"{root}: {len(paths)} changes are not committed, such as {paths[0]}", remedy=remedy)


def plan(root: Path, project: Project, *, starter_data: bool) -> InitPlan:
    tracked = list_files(root, untracked=False)
    without = not starter_data and any(path.startswith(STARTER[1]) for path in tracked)
    trained, data = set[str](), dict[str, Path]()
    if without and (root / starter.POINTER).is_file():
        trained, data = _handed_out(root)
        without = bool(data)
    removed = [path for path in tracked if without and path.startswith(STARTER) and path not in trained]
    now = load_project(root / "config")
    if project.template and not now.template:
        removed += [path for path in tracked if path in TEMPLATE_FILES]
    before, wanted = now.model_dump(mode="json"), project.model_dump(mode="json")
    names = {key: value for key, value in wanted.items() if value != before[key]}
    ours, theirs = f"@{project.organisation}/", f"@{now.organisation}/"
    changes = [
        *_edited(root, PROJECT, lambda text: edit_project(text, names)),
        *_overlays(root, now, project, tracked),
        *_edited(root, _OWNERS, lambda text: text.replace(theirs, ours)),
        # The roles of engine/aws/bootstrap.yaml may only use names that begin with the project's.
        *_edited(root, _SAGEMAKER, lambda text: re.sub(rf"(?<![\w./-]){now.name}(?=[-/]\w)", project.name, text)),
        *_words(root, now, project, tracked, without),
    ]
    if lost := [change.new for change in changes if change.new not in tracked and (root / change.new).exists()]:
        raise SluiceError(f"{lost[0]}: git does not have this file yet", remedy="commit it, or move it away")
    return InitPlan(changes, removed, data)


def _handed_out(root: Path) -> tuple[set[str], dict[str, Path]]:
    """Return the files of the remote that hold the trained starter, and the starter data by their place in data/; none
    where data.dvc isn't the starter's."""
    workspace, pointer = Workspace(root), root / starter.POINTER
    trained = {starter.folder_list(workspace, pointer), *starter.objects(workspace, pointer).values()}
    return {path.relative_to(root.resolve()).as_posix() for path in trained}, dict(starter.data_of(workspace))


def apply(root: Path, plan: InitPlan) -> None:
    for name, starters in plan.data.items():
        here, content = root / "data" / name, starters.read_bytes()
        if name.startswith("guard/"):
            write_atomic(here, content, sync=False)
        elif here.is_file() and here.read_bytes() == content:
            _drop(root, f"data/{name}")
    for path in (*plan.removed, *(change.old for change in plan.changes if change.old != change.new)):
        _drop(root, path)
    for change in plan.changes:
        (root / change.new).parent.mkdir(parents=True, exist_ok=True)
        write_atomic(root / change.new, change.text, sync=False)
    run(root, "add", "--all", "--", *plan.removed, *(path for one in plan.changes for path in (one.old, one.new)))


def _drop(root: Path, path: str) -> None:
    """Remove a file and the folders that it leaves empty: git tracks none."""
    (root / path).unlink(missing_ok=True)
    folder = (root / path).parent
    while folder != root and folder.is_dir() and not [one for one in folder.iterdir() if one.name != "__pycache__"]:
        shutil.rmtree(folder)
        folder = folder.parent


def _edited(root: Path, path: str, edit: Callable[[str], str]) -> Iterator[FileChange]:
    text = (root / path).read_text(encoding="utf-8") if (root / path).is_file() else ""
    if text and (new := edit(text)) != text:
        yield FileChange(path, path, new)


def _words(root: Path, now: Project, project: Project, tracked: Sequence[str], without: bool) -> Iterator[FileChange]:
    """Say what this project answers from; without the starter data, also in place of the words about those."""
    service = read_yaml(root / _SERVICE)[0] if _SERVICE in tracked else {}
    page = service.get("page", {})
    words = {f"{now.about}{stop}": f"{project.about}{stop}" for stop in ("", ".") if now.about}
    if "name" in page and not now.template:
        words[f"  name: {page['name']}"] = f"  name: {project.name}"
    if service and without:
        words |= {service["decline"]: _DECLINE, "  examples:   ": "  examples: []"}
        words |= {f"    - {question}\n": "" for question in page.get("examples", ())}
        words |= {"  quotes: false": "  quotes: true", _CHUNKER: "chunker: {name: structure, max_words: 200}"}
    for path in tracked:
        if path in (_SERVICE, _PARAMS) or path.startswith("prompts/"):
            yield from _edited(root, path, lambda text: _replace(text, words))


def _overlays(root: Path, now: Project, project: Project, tracked: Sequence[str]) -> Iterator[FileChange]:
    """Replace the project's values in the overlays; what a person wrote there stays."""
    moves = dict(zip(now.environments, project.environments, strict=True))
    folders = {path.split("/")[2] for path in tracked if path.startswith(f"{_OVERLAYS}/") and path.count("/") > 2}
    for old, new in moves.items():
        if old not in folders:
            remedy = f"restore it with git, or correct {PROJECT}"
            raise SluiceError(f"{_OVERLAYS}/{old}: no such overlay", remedy=remedy)
        if new in folders - set(moves):
            raise SluiceError(f"{_OVERLAYS}/{new}: there is an overlay of that name", remedy="choose another name")
    for folder in sorted(folders):
        target = moves.get(folder, folder)
        words = {
            f"namespace: {now.name}-{folder}": f"namespace: {project.name}-{target}",
            f"newName: {now.image}": f"newName: {project.image}",
            f"s3://{now.name}-artefacts-{folder}": f"s3://{project.name}-artefacts-{target}",
            f"Host(`{now.name}.{folder}.": f"Host(`{project.name}.{target}.",
            f"Host(`{now.name}.example.": f"Host(`{project.name}.example.",
            f"project: {now.name}": f"project: {project.name}",
        }
        for path in (path for path in tracked if path.startswith(f"{_OVERLAYS}/{folder}/")):
            text = (root / path).read_text(encoding="utf-8")
            renamed = _replace(text, words)
            moved = f"{_OVERLAYS}/{target}/{path.split('/', 3)[3]}"
            if (moved, renamed) != (path, text):
                yield FileChange(path, moved, renamed)


def _replace(text: str, words: dict[str, str]) -> str:
    """Replace the first of `words` in each line, so that no replacement is replaced again."""
    lines = text.splitlines(keepends=True)
    for number, line in enumerate(lines):
        for word, new in words.items():
            start, found, rest = line.partition(word)
            # A longer word, such as newName: ghcr.io/o/name-of-another, is another word; `-load` is the second image.
            whole = word.endswith(".") or rest.startswith("-load\n") or not re.match(r"[\w./-]", rest)
            if found and whole:
                lines[number] = start + new + rest
                break
    return "".join(lines)
