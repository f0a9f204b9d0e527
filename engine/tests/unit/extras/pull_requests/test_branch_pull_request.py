from pathlib import Path

import pytest

from sluice.core.errors import SluiceError
from sluice.core.git import commit_tree
from sluice.extras.pull_requests.branch_pull_request import (
    APPROVAL,
    PullRequestText,
    closed_before,
    origin_of,
    push_branch,
    upsert_pull,
    with_files,
)
from support.git import commit_all, git
from unit.github.fake_github import PERSON, READER, REPOSITORY, WRITER
from unit.github.fake_repository import FakeRepository

MARK = "Kept-Branch: "


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "checkout"
    root.mkdir()
    git(tmp_path, "init", "--quiet", "--bare", "--initial-branch=main", "server.git")
    git(root, "init", "--quiet", "--initial-branch=main")
    git(root, "remote", "add", "origin", str(tmp_path / "server.git"))
    (root / "notes.md").write_text("notes\n")
    commit_all(root)
    git(root, "push", "--quiet", "origin", "main")
    return root


def made(root: Path, text: str) -> str:
    head = git(root, "rev-parse", "HEAD")
    return commit_tree(root, with_files(root, head, {"docs/new.md": text}), f"New\n\n{MARK}docs", head)


def test_the_same_files_are_the_same_commit_and_the_checkout_stays(root: Path) -> None:
    first = made(root, "new\n")
    assert made(root, "new\n") == first != made(root, "other\n")
    assert git(root, "show", f"{first}:docs/new.md") == "new"
    assert git(root, "show", f"{first}:notes.md") == "notes"
    assert git(root, "status", "--porcelain") == ""
    assert not (root / "engine" / "docs").exists()


def test_it_is_pushed_once_renewed_and_left_to_a_person(root: Path) -> None:
    first, second = made(root, "new\n"), made(root, "other\n")
    assert push_branch(root, first, "kept", MARK, {}) == "branch pushed"
    assert push_branch(root, first, "kept", MARK, {}) == "branch unchanged"
    assert push_branch(root, second, "kept", MARK, {}) == "branch pushed anew"
    head = git(root, "rev-parse", "HEAD")
    theirs = commit_tree(root, with_files(root, second, {"docs/mine.md": "mine\n"}), "Mine", head)
    git(root, "push", "--quiet", "--force", "origin", f"{theirs}:refs/heads/kept")
    assert "left alone" in push_branch(root, first, "kept", MARK, {})
    assert git(root, "ls-remote", "origin", "refs/heads/kept").split()[0] == theirs


def environment(there: FakeRepository, token: str = WRITER) -> dict[str, str]:
    return {"GITHUB_API_URL": there.url, "GITHUB_REPOSITORY": REPOSITORY, "GITHUB_TOKEN": token}


PULL = PullRequestText("upgrade", "Template 0.2.0", "first text")


def test_opened_once_and_updated_after(there: FakeRepository) -> None:
    upsert_pull(PullRequestText("other", "Other", "theirs"), environment(there, PERSON))
    first = upsert_pull(PULL, environment(there))
    assert first.message == "pull request opened"
    assert there.pulls[1]["base"] == "main"
    assert upsert_pull(PULL, environment(there)).message == "pull request unchanged"
    later = upsert_pull(PullRequestText("upgrade", "Template 0.3.0", "second text"), environment(there))
    assert (later.message, later.url) == ("pull request updated", first.url)
    # What a person's token opens is checked without an approval.
    said = [(one["title"], one["body"]) for one in there.pulls]
    assert said == [("Other", "theirs"), ("Template 0.3.0", f"second text{APPROVAL}")]


def test_an_answer_that_got_lost_makes_no_second_one(there: FakeRepository) -> None:
    there.carried_out, there.script = True, [("POST", 502, {})]
    assert upsert_pull(PULL, environment(there)).message == "pull request unchanged"
    assert len(there.pulls) == 1


def test_what_a_person_closed_is_known_and_what_was_merged_is_no_refusal(there: FakeRepository) -> None:
    assert closed_before(PULL, environment(there)) == ""
    upsert_pull(PULL, environment(there))
    there.pulls[0]["state"] = "closed"
    assert closed_before(PULL, environment(there)) == there.pulls[0]["html_url"]
    assert closed_before(PullRequestText("upgrade", "Template 0.3.0", ""), environment(there)) == ""
    there.pulls[0]["merged_at"] = "2026-01-01T00:00:00Z"
    assert closed_before(PULL, environment(there)) == ""


def test_a_token_that_may_only_read(there: FakeRepository) -> None:
    with pytest.raises(SluiceError, match="GitHub answers 403"):
        upsert_pull(PULL, environment(there, READER))
    with pytest.raises(SluiceError, match="GITHUB_REPOSITORY is not set"):
        upsert_pull(PULL, {"GITHUB_TOKEN": WRITER})


def test_where_the_repository_comes_from(there: FakeRepository) -> None:
    assert origin_of(environment(there)) == ""
    there.facts[""]["parent"] = {"full_name": "makers/forked"}
    assert origin_of(environment(there)) == "makers/forked"
    there.facts[""]["template_repository"] = {"full_name": "makers/template"}
    assert origin_of(environment(there)) == "makers/template"
