"""Three-way merge of a later version of the template, by git, on the names of this repository.

The base is the version that was merged last, theirs the new one, ours what is committed here. Names and layout of this
repository are put on base and theirs first, so that only what really changed is compared. Everything happens in git's
objects; no working tree is touched.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sluice.core.errors import SluiceError
from sluice.core.git import run
from sluice.github.branch import commit_tree, with_files
from sluice.template.init import STARTER, read_texts, rewrite, tidy
from sluice.template.names import RECORD, Record, dump_record, load_record
from sluice.template.rename import Renamer

_CLEAN, _CONFLICTS = 0, 1


@dataclass(frozen=True)
class Merged:
    """`tree`: with conflict markers where both sides changed the same lines. `conflicts`: what git says of each."""

    tree: str
    conflicts: list[str]


def fetch(root: Path, address: str, version: str) -> str:
    """The commit of the tag v<version> of a repository, fetched without its history."""
    ref = f"refs/template/v{version}"
    run(
        root,
        *("fetch", "--quiet", "--no-tags", "--depth=1", "--force", "--", address, f"+refs/tags/v{version}:{ref}"),
        remedy=f"the template must be reachable, and have the tag v{version}",
    )
    return run(root, "rev-parse", f"{ref}^{{commit}}")


def translate(root: Path, commit: str, record: Record, parent: str = "") -> str:
    """A commit of the template as it would be in this repository: its names, without what it has dropped."""
    with tempfile.TemporaryDirectory(prefix="template-") as name:
        folder = Path(name) / "tree"
        work = {"GIT_INDEX_FILE": str(Path(name) / "index"), "GIT_WORK_TREE": str(folder)}
        work["GIT_DIR"] = run(root, "rev-parse", "--absolute-git-dir")
        folder.mkdir()
        run(folder, "read-tree", commit, env=work)
        run(folder, "checkout-index", "--all", "--force", env=work)
        _rewrite(folder, record, work)
        run(folder, "add", "--all", "--force", env=work)
        tree = run(folder, "write-tree", env=work)
    return commit_tree(root, tree, f"Template {commit[:12]}, in the names of this repository", parent)


def merge(root: Path, base: str, ours: str, theirs: str) -> Merged:
    """Merges in memory. A file that one side changed and the other removed is kept, and is a conflict too."""
    argv = [
        "git",
        "-C",
        str(root),
        "merge-tree",
        "--write-tree",
        "-z",
        "--messages",
        f"--merge-base={base}",
        ours,
        theirs,
    ]
    done = subprocess.run(argv, capture_output=True, check=False)
    if done.returncode not in (_CLEAN, _CONFLICTS):
        reason = done.stderr.decode("utf-8", "replace").strip()
        raise SluiceError(f"git merge-tree: {reason}", remedy="it needs git 2.40 or newer")
    parts = done.stdout.decode("utf-8", "surrogateescape").split("\0")
    tree, rest = parts[0], parts[1:]
    words = rest[rest.index("") + 1 :] if "" in rest else []
    return Merged(tree, list(_conflicts(words)) if done.returncode == _CONFLICTS else [])


def _conflicts(words: list[str]) -> list[str]:
    """Of git's records (count, paths, kind, message) the messages of conflicts."""
    found, at = [], 0
    while at < len(words) and words[at].isdigit():
        kind, message = words[at + int(words[at]) + 1 :][:2]
        if kind.startswith("CONFLICT"):
            found.append(message.strip().removeprefix(f"{kind}: "))
        at += int(words[at]) + 3
    return found


def with_record(root: Path, tree: str, record: Record) -> str:
    """The tree with the record in it."""
    return with_files(root, tree, {RECORD: dump_record(record)})


def _rewrite(folder: Path, record: Record, work: Mapping[str, str]) -> None:
    listed = [path for path in run(folder, "ls-files", "-z", env=work).split("\0") if path]
    dropped = [path for path in listed if not record.starter_data and path.startswith(STARTER)]
    for path in dropped:
        (folder / path).unlink()
    theirs = load_record(folder).template.names
    renamer = Renamer(theirs, record.names)
    kept = [path for path in listed if path not in dropped]
    texts = read_texts(folder, kept)
    for path in kept:
        text = dump_record(record) if path == RECORD else texts.get(path)
        rewrite(folder / path, folder / renamer.path(path), None if text is None else renamer.text(path, text))
    if theirs != record.names:
        tidy(folder)
