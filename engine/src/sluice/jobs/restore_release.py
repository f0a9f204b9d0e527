"""Makes an earlier release the champion again, in the record of an environment."""

from __future__ import annotations

import os

from sluice.core import git
from sluice.core.workspace import Workspace
from sluice.release import champion
from sluice.release.environment_record import open_record


def restore_release(workspace: Workspace, release: str, env: str) -> str:
    """Makes an earlier release the champion of the record; returns a sentence for people.

    Args:
        workspace: the checkout.
        release: its id, or `previous`.
        env: the environment, empty for this machine.
    """
    record = open_record(workspace, env, os.environ)
    with workspace.exclusive():
        chosen = record.previous() if release == "previous" else release
        commit, reason = git.commit(workspace.root), "rolled back by hand"
        moved = champion.promote(workspace, record, chosen, commit=commit, reason=reason, back=True)
    where = f" of {env}" if env else ""
    return f"{chosen} is the champion{where}" + ("" if moved else " already")
