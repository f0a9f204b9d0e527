"""The comment of an earlier run says that it is outdated; over real HTTP to a server that behaves like GitHub."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from sluice.core.errors import SluiceError
from sluice.extras.pull_requests.pull_request_comment import mark_outdated, upsert_comment
from unit.github.conftest import Environment
from unit.github.fake_github import READER, FakeGitHub

ROOT = Path(__file__).resolve().parents[5]
VERDICT = "## ✕ Worse: f1\n\nA sentence.\n"
SERVER = {"GITHUB_SERVER_URL": "https://github.invalid"}
HEAD = "4" * 40


@pytest.fixture(autouse=True)
def event(environment: Environment, tmp_path: Path) -> None:
    environment()  # which writes one without a head
    (tmp_path / "event.json").write_text(json.dumps({"pull_request": {"number": 7, "head": {"sha": HEAD}}}))


def body(github: FakeGitHub) -> str:
    (comment,) = github.comments.values()
    return str(comment["body"])


def test_a_push_marks_the_comment_and_its_comparison_replaces_it(github: FakeGitHub, environment: Environment) -> None:
    upsert_comment(VERDICT, environment())
    later = environment(GITHUB_RUN_ID="501", **SERVER)
    assert mark_outdated(later, compares=True).startswith("outdated: https://github.invalid/octo/app/pull/7#")
    marker, notice, _, title, *_ = body(github).splitlines()
    assert marker == "<!-- sluice:comparison run=501.1 -->"
    run = "[This run](https://github.invalid/octo/app/actions/runs/501/attempts/1)"
    assert notice.startswith(f"> **Outdated.** {run} compares {HEAD} now.")
    assert title == "## ✕ Worse: f1"
    # The run before is quicker in its last step than in being cancelled.
    said = upsert_comment("## = Late", environment())
    assert said.message == "no comment: a later run has commented already"
    upsert_comment("## ✓ Improved", later)
    assert body(github) == "<!-- sluice:comparison run=501.1 -->\n## ✓ Improved"


def test_a_push_that_takes_the_change_back_says_that_nothing_is_compared(
    github: FakeGitHub, environment: Environment
) -> None:
    upsert_comment(VERDICT, environment())
    mark_outdated(environment(GITHUB_RUN_ID="501", **SERVER), compares=False)
    assert f"compares nothing: at {HEAD} nothing is changed that an answer depends on." in body(github)
    assert body(github).endswith(VERDICT)


def test_the_notice_stands_once(github: FakeGitHub, environment: Environment) -> None:
    upsert_comment(VERDICT, environment())
    for run in ("501", "502", "503"):
        mark_outdated(environment(GITHUB_RUN_ID=run, **SERVER), compares=run != "503")
    assert body(github).count("Outdated") == 1
    assert "compares nothing" in body(github)
    assert body(github).endswith(f"\n\n{VERDICT}")


def test_a_comment_that_is_full_stays_below_the_limit(github: FakeGitHub, environment: Environment) -> None:
    upsert_comment("## ✕ Worse\n\n" + "a line of the text\n" * 4000, environment())
    mark_outdated(environment(GITHUB_RUN_ID="501", **SERVER), compares=True)
    assert len(body(github)) <= 65_536
    assert "## ✕ Worse" in body(github)


def test_what_is_not_ours_or_later_stays(github: FakeGitHub, environment: Environment) -> None:
    for number in range(150):
        github.add(f"talk {number}", "octocat")
    github.add("<!-- sluice:comparison run=1.1 -->\ncopied", "mallory")
    before = {number: one["body"] for number, one in github.comments.items()}
    assert mark_outdated(environment(), compares=True) == "nothing is outdated: there is no comparison yet"
    ours = github.add("<!-- sluice:comparison run=600.1 -->\nlater")
    assert mark_outdated(environment(), compares=True) == "nothing is outdated: a later run has commented already"
    assert {number: one["body"] for number, one in github.comments.items() if number != ours} == before


def test_a_run_of_something_else_asks_nothing(github: FakeGitHub, environment: Environment, tmp_path: Path) -> None:
    (tmp_path / "event.json").write_text(json.dumps({"merge_group": {}}))
    assert mark_outdated(environment(), compares=True) == "nothing is outdated: this run is not of a pull request"
    assert github.asked == []


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"GITHUB_TOKEN": READER}, "PATCH /repos/octo/app/issues/comments/101: GitHub answers 403"),
        ({"GITHUB_TOKEN": None}, "GITHUB_TOKEN is not set"),
        ({"GITHUB_API_URL": "http://127.0.0.1:9"}, "no answer from GitHub"),
        ({"GITHUB_API_URL": "http://api.example.invalid"}, "not https; the token is not sent there"),
    ],
)
def test_what_is_wrong_is_named(
    github: FakeGitHub, environment: Environment, values: dict[str, str | None], words: str
) -> None:
    github.add("<!-- sluice:comparison run=1.1 -->\nold")
    with pytest.raises(SluiceError, match=words):
        mark_outdated(environment(**values), compares=True)
    assert body(github) == "<!-- sluice:comparison run=1.1 -->\nold"


@pytest.mark.parametrize(("token", "words"), [("writer", "outdated: https://"), (READER, "not marked: PATCH ")])
def test_the_step_runs_on_a_bare_python_and_never_fails(
    github: FakeGitHub, environment: Environment, token: str, words: str
) -> None:
    """`-I -S` finds no installed package."""
    github.add("<!-- sluice:comparison run=1.1 -->\nold")
    done = subprocess.run(
        [sys.executable, "-I", "-S", ROOT / "engine/scripts/ci.py", "outdated"],
        env=environment(GITHUB_TOKEN=token, EVAL="true"),
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    assert words in done.stdout
    assert ("compares 4444" in body(github)) == (token == "writer")  # pragma: allowlist secret
