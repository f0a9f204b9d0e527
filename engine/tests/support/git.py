"""git in the repositories of tests, as an author who signs nothing."""

from pathlib import Path

from sluice.core.git import run

AUTHOR = ("-c", "user.name=t", "-c", "user.email=t@example.invalid", "-c", "commit.gpgsign=false")


def git(root: Path, *words: str) -> str:
    """Run git in a folder and return its output; a failure raises."""
    return run(root, *AUTHOR, *words)


def commit_all(root: Path, message: str = "x") -> str:
    """Commit everything, also nothing, and return the commit."""
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--allow-empty", "--message", message)
    return git(root, "rev-parse", "HEAD")
