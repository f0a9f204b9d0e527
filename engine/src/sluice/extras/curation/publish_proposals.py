"""Publishes proposed rows of data: one commit on a branch of their own, and its pull request."""

from __future__ import annotations

import os
from collections.abc import Mapping

from sluice.core.git import commit_tree, run
from sluice.core.workspace import Workspace
from sluice.extras.curation.proposed_rows import PAGE, ProposalBranch
from sluice.extras.pull_requests.branch_pull_request import PullRequestText, upsert_pull
from sluice.extras.pull_requests.managed_branch import push_branch, with_files


def publish_proposals(workspace: Workspace, files: Mapping[str, str], place: ProposalBranch) -> None:
    """Pushes the branch of `place` and opens its pull request, or updates both.

    Args:
        workspace: The checkout; the commit stands on its HEAD.
        files: Content of each file by its name in the folder of `place`.
        place: Branch, folder and words of the proposal.
    """
    root = workspace.root
    head = run(root, "rev-parse", "HEAD")
    tree = with_files(root, head, {f"{place.folder}/{name}": content for name, content in files.items()})
    commit = commit_tree(root, tree, place.message, head)
    print(push_branch(root, commit, place.branch, place.mark, os.environ))
    posted = upsert_pull(PullRequestText(place.branch, place.title, place.body(files[PAGE])), os.environ)
    print(f"{posted.message}: {posted.url}")
