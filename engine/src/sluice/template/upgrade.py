"""`sluice upgrade`: a later version of the template as one commit on a branch, and one pull request for it.

What a person has added to the branch is never overwritten, and a pull request that was closed is not opened again for
the same version.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sluice.core.errors import SluiceError
from sluice.core.git import run
from sluice.github.branch import SERVER, commit_tree, push_branch
from sluice.template.merge import fetch, merge, translate, with_record
from sluice.template.names import Record

BRANCH = "upgrade-template"
_TRAILER = "Template-Version: "


@dataclass(frozen=True)
class Upgrade:
    """`commit`: its only parent is what was checked out. `changed`: files that differ from that."""

    old: str
    new: str
    commit: str
    conflicts: list[str]
    changed: list[str]

    @property
    def title(self) -> str:
        return f"Template {self.new}"


def address_of(source: str) -> str:
    """What git fetches from: owner/name means GitHub."""
    return f"{SERVER}/{source}.git" if re.fullmatch(r"[\w-]+/[\w.-]+", source) else source


def versions(root: Path, address: str) -> list[str]:
    """Released versions of the template, the newest last. Tags of other forms, such as v1.0.0-rc1, are none."""
    listed = run(root, "ls-remote", "--tags", "--refs", "--", address, "v*", remedy="check the address of the template")
    found = re.findall(r"refs/tags/v(\d+\.\d+\.\d+)$", listed, re.MULTILINE)
    return sorted(found, key=_order)


def prepare(root: Path, record: Record, source: str, to: str = "") -> Upgrade | None:
    """Merges the newest version, or `to`, into what is committed; None when it is there already."""
    old, address = record.template.version, address_of(source)
    known = versions(root, address)
    new = to.removeprefix("v") or (known[-1] if known else old)
    if known and new not in known:
        raise SluiceError(f"{source}: no version {new}", remedy=f"it has {', '.join(known)}")
    if _order(new) <= _order(old):
        return None
    base = translate(root, fetch(root, address, old), record)
    theirs = translate(root, fetch(root, address, new), record, base)
    ours = run(root, "rev-parse", "HEAD")
    run(root, "update-ref", f"refs/template/{new}", theirs)  # git names the sides in its markers
    merged = merge(root, base, "HEAD", f"refs/template/{new}")
    template = record.template.model_copy(update={"version": new, "repository": source})
    tree = with_record(root, merged.tree, record.model_copy(update={"template": template}))
    message = f"Upgrade to template {new}\n\n{_TRAILER}{new}"
    commit = commit_tree(root, tree, message, ours)
    changed = run(root, "diff", "--name-only", "-z", ours, commit).split("\0")
    return Upgrade(old, new, commit, merged.conflicts, [path for path in changed if path])


def push(root: Path, upgrade: Upgrade, environment: Mapping[str, str], *, remote: str = "origin") -> str:
    """Puts the commit on the branch of the remote; says what it did.

    A branch whose last commit is not one of these belongs to whoever made that commit, and stays."""
    return push_branch(
        root,
        upgrade.commit,
        BRANCH,
        _TRAILER,
        environment,
        remote=remote,
        remedy="a change of .github/workflows/ needs a token with the right `workflows`: docs/set-up.md",
    )


def describe(upgrade: Upgrade) -> str:
    """The text of the pull request, as Markdown."""
    lines = [f"Template {upgrade.old} → {upgrade.new}: {len(upgrade.changed)} files, merged three ways."]
    if upgrade.conflicts:
        count = f"{len(upgrade.conflicts)} conflict" + ("s" if len(upgrade.conflicts) > 1 else "")
        lines += [
            "",
            f"**{count}.** Nothing is lost: both sides stand in the files, between markers that `make check` refuses. "
            "Of a file that one side removed, the other side's is kept.",
        ]
        lines += ["", *(f"- {_plain(one)}" for one in upgrade.conflicts)]
        lines += ["", "```", f"git fetch origin && git switch {BRANCH}", "git grep -n '^<<<<<<< '", "```"]
    else:
        lines += ["", "No conflicts."]
    lines += [
        "",
        "Pages that are written from the code may be behind: run `engine/scripts/write_cli_reference.py`, "
        "`engine/scripts/write_schemas.py` and `engine/scripts/write_golden_manifests.py`, "
        "then `make check` and `make test`.",
    ]
    return "\n".join(lines) + "\n"


def _plain(text: str) -> str:
    """A line of git as code, whatever characters a path has."""
    return "`" + re.sub(r"[`\s]+", " ", text).strip() + "`"


def _order(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
