"""Takes extras out of a repository: `sluice init --without NAMES`, `sluice extras` lists what is there.

What belongs to an extra is declared in its `extra.py`; what is shared with others is cut out of it. Its own folder goes
last, so that a removal that was ended may be begun again.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path

from sluice.core.atomic_files import write_atomic
from sluice.core.errors import SluiceError
from sluice.core.extras import FOLDER, HERE, Extra, extras
from sluice.core.removed import merged, replacement
from sluice.core.settings import nearest
from sluice.core.workspace import LOCK
from sluice.template.cuts import cut

TESTS = "engine/tests/unit/extras"
_PACKAGE = "engine/src/sluice/__init__.py"
_WRITERS = {
    "engine/scripts/write_workflow_reference.py": "engine/docs/reference/workflows.md",
}
_NO_PAGES = ("build", "data", "dvc-store")
_HISTORY = "CHANGELOG.md"  # what was done stays said
_LINK = re.compile(r"!?\[([^\]]*)\]\(([^)#\s]+)[^)]*\)")
_ENTRIES = re.compile(r", (?![^(\[]*[)\]])")  # between the entries of a cell, not within brackets
_USES = re.compile(r"\buses: ([\w.-]+/[\w./-]+)@")
_TARGET = re.compile(r"^([a-z0-9-]+):", re.MULTILINE)


def with_dependents(names: Iterable[str]) -> list[str]:
    """The named extras and all that need one of them. SluiceError for an unknown name."""
    there, chosen = extras(), set(names)
    for name in sorted(chosen - set(there)):
        hint = replacement(f"extra: {name}") or nearest(name, list(there))
        raise SluiceError(f"no extra {name!r}{hint}", remedy=f"there are {', '.join(there)}")
    while more := {name for name, extra in there.items() if chosen & set(extra.needs)} - chosen:
        chosen |= more
    return sorted(chosen)


def remove(root: Path, names: Iterable[str], leave: Collection[str] = ()) -> list[str]:
    """Removes extras, and those that need them, from a checkout.

    Another version of the engine removes its own extras: its code runs, in a process that knows no secrets."""
    if (root / LOCK).is_file():
        raise SluiceError(f"{root / LOCK}: an installed engine is whole", remedy="`sluice engine vendor` first")
    if (root / FOLDER).resolve() != HERE:
        return _removed_by_its_own(root, sorted(names))
    chosen = with_dependents(name for name in merged(names) if name in extras())
    if not chosen:
        return []
    going = {name: extras()[name] for name in chosen}
    gone = [path for path in _own(going) if (root / path).exists()]
    folders = [f"{FOLDER}/{name}" for name in chosen]
    words = [*gone, *folders, *(f"make {target}" for target in _targets(root, chosen))]
    used = _actions(root)
    for path in gone:
        drop(root, path)
    changed = [path for extra in going.values() for path in _cut(root, extra)]
    changed += _forget(root, [*map(re.escape, words), *(f"{re.escape(a)}(?!/)" for a in used - _actions(root))], leave)
    for folder in folders:
        drop(root, folder)
    changed += _write_pages(root)
    return sorted({*changed, *gone, *folders})


def _removed_by_its_own(root: Path, names: list[str]) -> list[str]:
    if not (root / _PACKAGE).is_file():  # Python would import the one that runs here, which would come here again
        raise SluiceError(f"{root / _PACKAGE}: no such file: that engine is not whole", remedy="restore it with git")
    call = "import json, pathlib, sys; from sluice.template.extras import remove; "
    call += "print(json.dumps(remove(pathlib.Path(sys.argv[1]), sys.argv[2:])))"
    return list(json.loads(_run(root, "-c", call, str(root), *names)))


def _run(root: Path, *words: str) -> str:
    """What Python prints with the engine of a checkout. SluiceError with its last words when it fails."""
    environment = {name: os.environ[name] for name in ("HOME", "LANG", "PATH") if name in os.environ}
    environment |= {"PYTHONPATH": str(root / "engine" / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, *words], cwd=root, env=environment, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise SluiceError(f"{root}: the extras could not be removed: {last}", remedy="fix that and run it again")
    return done.stdout


def _own(going: dict[str, Extra]) -> list[str]:
    """What lies outside of their folders and is theirs alone, or is there only beside one of them."""
    own = [path for name, extra in going.items() for path in (f"{TESTS}/{name}", *extra.files)]
    return own + [path for extra in extras().values() for name in going for path in extra.shared.get(name, ())]


def _targets(root: Path, names: Iterable[str]) -> list[str]:
    """Tasks of the Makefile that go with the folders of extras."""
    files = [root / FOLDER / name / "extra.mk" for name in names]
    return [target for file in files if file.is_file() for target in _TARGET.findall(file.read_text(encoding="utf-8"))]


def _actions(root: Path) -> set[str]:
    """Actions of others that workflows use; extras share them, so that the row of one goes with the last."""
    return {name for file in (root / ".github").rglob("*.yml") for name in _USES.findall(file.read_text("utf-8"))}


def drop(root: Path, path: str) -> None:
    """Removes a file or a folder, and the folders that are empty then: git tracks none."""
    place = root / path
    if not place.exists():
        return  # it went with its folder
    shutil.rmtree(place) if place.is_dir() else place.unlink()
    folder = place.parent
    while folder != root and not [one for one in folder.iterdir() if one.name != "__pycache__"]:
        shutil.rmtree(folder)
        folder = folder.parent


def _cut(root: Path, extra: Extra) -> list[str]:
    """Cuts what an extra has in files that it shares with others; the files that have changed."""
    changed = []
    for path in {**extra.entries, **extra.lines}:
        if not (root / path).is_file():
            continue
        text = before = (root / path).read_text(encoding="utf-8")
        for steps in extra.entries.get(path, ()):
            text = cut(text, steps)
        for words in extra.lines.get(path, ()):
            text = "".join(line for line in text.splitlines(keepends=True) if words not in line)
        if text != before:
            write_atomic(root / path, text, sync=False)
            changed.append(path)
    return changed


def _forget(root: Path, gone: list[str], leave: Collection[str]) -> list[str]:
    """Takes what patterns name out of the pages: rows and items that are about it, and links that lead to it."""
    named = re.compile("|".join(rf"(?<![\w/]){one}(?![\w-])" for one in gone))
    changed = []
    for path in (page for page in _pages(root) if str(page.relative_to(root)) not in leave):
        text = path.read_text(encoding="utf-8")
        dead = {target for _, target in _LINK.findall(text) if named.match(os.path.relpath(path.parent / target, root))}

        def is_gone(words: str, dead: set[str] = dead) -> bool:
            return bool(named.search(words)) or any(target in dead for _, target in _LINK.findall(words))

        whole = path == root / _HISTORY
        kept = [line if whole else _without(line, is_gone) for line in text.splitlines(keepends=True)]
        after = _LINK.sub(lambda link, dead=dead: link[1] if link[2] in dead else link[0], "".join(kept))  # type: ignore[misc]
        if after != text:
            write_atomic(path, after, sync=False)
            changed.append(str(path.relative_to(root)))
    return changed


def _without(line: str, is_gone: Callable[[str], bool]) -> str:
    """A line of a page without what is gone: its entry in the cells of a row; the whole row where a cell held nothing
    else; the whole item of a list that begins with it."""
    if not is_gone(line):
        return line
    if line.startswith("- "):
        return "" if is_gone(re.split(r"[,:;.] ", line)[0]) else line
    if not line.startswith("|"):
        return line
    cells = [[entry for entry in _ENTRIES.split(cell.strip()) if not is_gone(entry)] for cell in line.split("|")[1:-1]]
    return f"| {' | '.join(', '.join(cell) for cell in cells)} |\n" if all(cells) else ""


def _pages(root: Path) -> Iterator[Path]:
    """The pages of Markdown, but not those of data and of what is built."""
    yield from root.glob("*.md")
    for folder in root.iterdir():
        if folder.is_dir() and (folder.name == ".github" or folder.name[0] != ".") and folder.name not in _NO_PAGES:
            yield from folder.rglob("*.md")


def _write_pages(root: Path) -> list[str]:
    """Writes anew the page that is made of the workflows."""
    for script in _WRITERS:
        if (root / script).is_file():
            _run(root, script)
    return [page for page in _WRITERS.values() if (root / page).is_file()]
