"""The hidden first line that identifies a text of ours: its subject, and the run that wrote it."""

from __future__ import annotations

import re
from typing import Any

from sluice.github.github_api import GitHub, GitHubStatusError
from sluice.github.workflow_run import Run

# Who GITHUB_TOKEN writes as; such a token may not ask for its own name.
BOT = "github-actions[bot]"
LIMIT = 65_536
_CUT = "\n\n_The rest did not fit; it is in the job summary._\n"


def marked(markdown: str, marker: str, run: Run) -> str:
    """The text behind its hidden line, cut at a line where GitHub would refuse it for its length."""
    body = f"<!-- sluice:{marker} run={run[0]}.{run[1]} -->\n{markdown}"
    if len(body) <= LIMIT:
        return body
    kept = body[: LIMIT - len(_CUT)]
    return kept[: kept.rfind("\n")] + _CUT


def run_of(body: str | None, marker: str) -> Run | None:
    """The run that wrote a text under `marker` (a word); None when it is another text."""
    found = re.match(rf"<!-- sluice:{re.escape(marker)} run=(\d+)\.(\d+) -->", body or "")
    return (int(found[1]), int(found[2])) if found else None


def author(github: GitHub) -> str:
    """The login that the token writes as."""
    try:
        return str(github.call("GET", "/user")["login"])
    except GitHubStatusError as error:
        if error.status != 403:
            raise
        return BOT


def ours(listed: list[dict[str, Any]], marker: str, login: str) -> list[dict[str, Any]]:
    """Those of `listed` that `login` wrote under `marker`, oldest first: texts of other authors are never touched."""
    found = [
        one
        for one in listed
        if (one.get("user") or {}).get("login") == login and run_of(one.get("body"), marker) is not None
    ]
    return sorted(found, key=lambda one: int(one["id"]))
