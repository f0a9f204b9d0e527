"""Texts of ours on GitHub, comments or issues: written once, found again by a hidden first line and their author.

So no text of another author is ever overwritten. Two runs may write concurrently: the one that sees an older text
updates that one and removes its own. What a later run wrote stays.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from sluice.github.workflow_run import Run

if TYPE_CHECKING:
    from github.Issue import Issue
    from github.IssueComment import IssueComment

T = TypeVar("T", "Issue", "IssueComment")
LIMIT = 65_536
_CUT = "\n\n_The rest did not fit; it is in the job summary._\n"


@dataclass(frozen=True)
class CommentResult:
    """`url` of the comment; None when there is none, and `message` says why."""

    message: str
    url: str | None = None


def marked(markdown: str, marker: str, run: Run) -> str:
    """The text behind its hidden line, cut at a line where GitHub would refuse it for its length."""
    body = f"<!-- sluice:{marker} run={run[0]}.{run[1]} -->\n{markdown}"
    if len(body) <= LIMIT:
        return body
    kept = body[: LIMIT - len(_CUT)]
    return kept[: kept.rfind("\n")] + _CUT


def run_of(body: str | None) -> tuple[str, Run]:
    """The marker of a text of ours, and the run that wrote it; of any other text no marker."""
    found = re.match(r"<!-- sluice:(\S+) run=(\d+)\.(\d+) -->", body or "")
    return (found[1], (int(found[2]), int(found[3]))) if found else ("", (0, 0))


@dataclass(frozen=True)
class MarkedTexts(Generic[T]):
    """All texts of one kind in one place; `marker`, a word, and `login` say which are ours."""

    marker: str
    run: Run
    login: str
    read: Callable[[], Iterable[T]]
    create: Callable[[], T]
    edit: Callable[[T], Any]
    remove: Callable[[T], Any]

    def ours(self) -> list[T]:
        """The oldest first."""
        by_us = [one for one in self.read() if one.user and one.user.login == self.login]
        return sorted((one for one in by_us if run_of(one.body)[0] == self.marker), key=lambda one: one.id)

    def is_later(self, text: T) -> bool:
        """Whether a later run than this one wrote it."""
        return run_of(text.body)[1] > self.run

    def upsert(self) -> tuple[T, Literal["created", "updated", "later"]]:
        """Leaves one text of ours, which is this run's or a later one's; says which it is, and how it came to be."""
        found = self.ours()
        if found and (done := self._update(found)):
            return found[0], done
        mine = self.create()
        found = self.ours()
        # An older one: another run was quicker, or the first try was carried out although its answer got lost.
        if found and found[0].id < mine.id and (done := self._update([found[0], mine])):
            return found[0], done
        return mine, "created"

    def _update(self, found: list[T]) -> Literal["updated", "later"] | None:
        """Writes the first and removes the others; None where the first was deleted meanwhile."""
        from github import UnknownObjectException

        later = self.is_later(found[0])
        try:
            if not later:
                self.edit(found[0])
        except UnknownObjectException:
            return None
        for double in found[1:]:
            try:
                self.remove(double)
            except UnknownObjectException:  # another run was quicker
                continue
        return "later" if later else "updated"
