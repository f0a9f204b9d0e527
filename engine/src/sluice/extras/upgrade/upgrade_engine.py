"""`sluice upgrade`: a later version of the template as one commit on a branch, and one pull request for it.

All work is done in a temporary folder, and the last step moves the branch: a kill changes nothing. The upgrade never
overwrites commits that a person added to the branch, and never opens a closed pull request again.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from sluice.core.digests import digest_of_file
from sluice.core.errors import SluiceError, ValidationErrors
from sluice.core.git import commit_tree, run
from sluice.core.project import load_project
from sluice.core.text import code
from sluice.core.workspace import LOCK, MARKER
from sluice.extras.pull_requests.branch_pull_request import push_branch
from sluice.extras.upgrade.engine_wheel import EngineLock, contents, fetch, pinned, read_lock, require_same, unpack
from sluice.extras.upgrade.versions import (
    address_of,
    changed_files,
    check_out,
    codemods,
    fetch_version,
    index_of,
    merge_file,
    order,
    released,
    run_codemod,
    take,
)
from sluice.template.owned import ENGINE, OWNED, Edit, edits, read_list, version_of, walk

BRANCH = "upgrade-template"
_TRAILER = "Template-Version: "


@dataclass(frozen=True)
class UpgradeResult:
    """`merged` files were edited and took the template's changes too, `kept` ones are adopted and could not; `codemods`
    has the project's own files that a version changed."""

    old: str
    new: str
    commit: str
    changed: list[str]
    merged: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    codemods: dict[str, list[str]] = field(default_factory=dict)


def title_of(version: str) -> str:
    return f"Template {version}"


def prepare(root: Path, source: str, to: str = "", *, discard: bool = False) -> UpgradeResult | None:
    address = address_of(source)
    known = released(root, address)
    with tempfile.TemporaryDirectory(prefix="upgrade-") as name:
        folder = Path(name)
        ours = check_out(root, "HEAD", folder / "project")
        lock = read_lock(ours)
        old = lock.version if lock else version_of(ours)
        new = to.removeprefix("v") or (known[-1] if known else old)
        if known and new not in known:
            raise SluiceError(f"{source}: no version {new}", remedy=f"it has {', '.join(known)}")
        if order(new) <= order(old):
            return None
        theirs = fetch_version(address, new, folder)
        if lock:
            unpack(ours)
            (ours / MARKER).unlink()
            lock = _moved(lock, new, theirs)
        work = _Work(ours, theirs, load_project(ours / "config").adopted, discard)
        if work.edited and old in known:
            work.base = fetch_version(address, old, folder)
        work.replace()
        if lock:
            (ours / LOCK).write_text(lock.text, encoding="utf-8")
        index = index_of(root, ours)
        take(ours, changed_files(ours, index), index)
        changed = _change_project(ours, index, old, new)
        tree = run(ours, "write-tree", env=index)
    head = run(root, "rev-parse", "HEAD")
    commit = commit_tree(root, tree, f"Upgrade to template {new}\n\n{_TRAILER}{new}", head)
    paths = [path for path in run(root, "diff", "--name-only", "-z", head, commit).split("\0") if path]
    return UpgradeResult(old, new, commit, paths, work.merged, work.kept, changed)


def _moved(lock: EngineLock, version: str, theirs: Path) -> EngineLock:
    with tempfile.TemporaryDirectory(prefix="engine-") as name:
        lock = lock.moved(version)
        wheel = fetch(lock, Path(name))
        remedy = "report it to who released the wheel; nothing was changed"
        require_same(contents(wheel), pinned(theirs), f"{lock.requirement}: not the template's {version}", remedy)
        return replace(lock, sha256=digest_of_file(wheel))


@dataclass
class _Work:
    """Replaces the engine of `ours` by that of `theirs`; `base` is the version of `ours`, for three-way merges."""

    ours: Path
    theirs: Path
    adopted: tuple[str, ...]
    discard: bool
    base: Path | None = None
    merged: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.owned, self.wanted = read_list(self.ours, OWNED), read_list(self.theirs, OWNED)
        self.edited = {edit.path: edit for edit in edits(self.ours, walk(self.ours))}

    def replace(self) -> None:
        """Refuse to lose an edit, before anything is written."""
        inside = [edit for path, edit in self.edited.items() if path.startswith(ENGINE)]
        faults = [str(edit) for edit in inside if not self.discard]
        results = {path: self._resolve(path, faults) for path in sorted({*self.owned, *self.wanted})}
        if faults:
            raise ValidationErrors(
                "edits that the upgrade would lose",
                faults,
                remedy="undo them, or give them up with --discard-edits; nothing was changed",
            )
        shutil.rmtree(self.ours / ENGINE)
        shutil.copytree(self.theirs / ENGINE, self.ours / ENGINE, symlinks=True)
        for path, content in results.items():
            ours = self.ours / path
            if content is None:
                ours.unlink(missing_ok=True)
            elif isinstance(content, bytes):
                ours.write_bytes(content)
            elif content != ours:
                ours.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(content, ours)

    def _resolve(self, path: str, faults: list[str]) -> bytes | Path | None:
        """Return the file to copy or the content to write, or None to delete it."""
        ours, theirs = self.ours / path, self.theirs / path
        target = theirs if path in self.wanted else None
        if path not in self.owned:
            if ours.exists() and ours.read_bytes() != theirs.read_bytes() and not self.discard:
                faults.append(f"{path}: the template has a file of this name now; give yours another one")
            return target
        if path not in self.wanted and theirs.exists():
            return ours if ours.exists() else None  # from now on it is the project's
        edit = self.edited.get(path)
        return target if edit is None else self._edited(edit, target, faults)

    def _edited(self, edit: Edit, target: Path | None, faults: list[str]) -> bytes | Path | None:
        ours, base = self.ours / edit.path, self.base / edit.path if self.base else None
        if edit.kind == "changed" and target and base and base.exists():
            if base.read_bytes() == target.read_bytes():
                return ours  # the template left it as it was
            if (merged := merge_file(ours, base, target)) is not None:
                self.merged.append(edit.path)
                return merged
        if edit.path in self.adopted:
            self.kept.append(edit.path)
            return ours if ours.exists() else None
        if not self.discard:
            faults.append(str(edit))
        return target


def _change_project(ours: Path, index: Mapping[str, str], old: str, new: str) -> dict[str, list[str]]:
    """Run the codemods in between; refuse one that changes the engine."""
    found: dict[str, list[str]] = {}
    owned = read_list(ours, OWNED)
    for version, path in codemods(ours, old, new):
        run_codemod(path, ours)
        done = changed_files(ours, index)
        if foreign := [one for one in done if one.startswith(ENGINE) or one in owned]:
            raise SluiceError(f"codemod {version}: {foreign[0]} is the engine's", remedy="report it to the template")
        take(ours, done, index)
        if done:
            found[version] = done
    return found


def push(root: Path, upgrade: UpgradeResult, environment: Mapping[str, str], *, remote: str = "origin") -> str:
    """Push the commit to its branch, unless somebody else made the last commit there; return what was done."""
    return push_branch(
        root,
        upgrade.commit,
        BRANCH,
        _TRAILER,
        environment,
        remote=remote,
        remedy="a change of .github/workflows/ needs a token with the right `workflows`: docs/set-up.md",
    )


def describe(upgrade: UpgradeResult) -> str:
    own = [path for paths in upgrade.codemods.values() for path in paths]
    engine = [path for path in upgrade.changed if path.startswith(ENGINE)]
    others = sorted(set(upgrade.changed) - set(engine) - set(own))
    taken = LOCK if LOCK in others else f"{len(engine)} files of engine/"
    others = [path for path in others if path != LOCK]
    lines = [f"Template {upgrade.old} → {upgrade.new}: {taken}, {len(others)} outside of it."]
    if upgrade.merged:
        lines += ["", "Edited here and in the template, merged:", "", *(f"- {code(path)}" for path in upgrade.merged)]
    if upgrade.kept:
        lines += ["", "**Adopted by this project, left as they are; the template changed them too:**", ""]
        lines += [f"- {code(path)}" for path in upgrade.kept]
    if own:
        lines += ["", "Files of the project that had to change:", ""]
        lines += [f"- {version}: {', '.join(map(code, paths))}" for version, paths in upgrade.codemods.items()]
    else:
        lines += ["", "No file of the project was changed."]
    lines += ["", "This pull request is evaluated and released as any other. By hand: `make check` and `make test`."]
    return "\n".join(lines) + "\n"
