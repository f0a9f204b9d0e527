"""One comment and its notice that it is outdated, over HTTP to a server that behaves like GitHub."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sluice.core.errors import SluiceError
from sluice.extras.pull_requests.comment_verdict import comparison_text, verdict_line
from sluice.extras.pull_requests.pull_request_comment import mark_outdated
from sluice.extras.pull_requests.pull_request_comment import upsert_comment as post
from sluice.github.github_client import CommentResult
from unit.github.conftest import Environment
from unit.github.fake_github import PERSON, READER, FakeGitHub

MARKER = "<!-- sluice:comparison run=500.1 -->\n"


def bodies(github: FakeGitHub) -> list[str]:
    return [comment["body"] for comment in github.comments.values()]


def test_created_once_and_updated_after(github: FakeGitHub, environment: Environment) -> None:
    first = post("worse", environment())
    assert (first.message, bodies(github)) == ("comment created", [MARKER + "worse"])
    second = post("improved", environment())
    assert (second.message, second.url) == ("comment updated", first.url)
    assert bodies(github) == [MARKER + "improved"]


def test_comments_of_others_stay_as_they_are(github: FakeGitHub, environment: Environment) -> None:
    copied = github.add(MARKER + "copied by somebody", "mallory")
    assert post("one", environment(GITHUB_TOKEN=PERSON)).message == "comment created"
    assert post("two", environment(GITHUB_TOKEN=PERSON)).message == "comment updated"
    quoting = github.add("> " + MARKER)
    other = github.add("<!-- sluice:load run=1.1 -->\nanother report of ours")
    before = {number: github.comments[number]["body"] for number in (copied, quoting, other)}
    assert post("mine", environment()).message == "comment created"
    assert {number: github.comments[number]["body"] for number in before} == before


def test_a_token_that_may_only_read_is_no_failure(github: FakeGitHub, environment: Environment) -> None:
    posted = post("text", environment(GITHUB_TOKEN=READER))
    assert posted.url is None
    assert "fork" in posted.message
    assert "job summary" in posted.message
    assert github.comments == {}
    assert len([one for one in github.asked if one[0] == "POST"]) == 1, "a refusal is not asked again"


def test_trouble_that_passes_is_waited_for(github: FakeGitHub, environment: Environment) -> None:
    github.script = [("POST", status, {}) for status in (502, 429, 0)]
    assert post("text", environment()).message == "comment created"
    assert github.pauses == [2.0, 4.0], "once at once, then after growing pauses"
    assert bodies(github) == [MARKER + "text"]


def test_github_says_how_long_to_wait_within_bounds(github: FakeGitHub, environment: Environment) -> None:
    github.script = [
        ("POST", 429, {"Retry-After": "7"}),
        ("POST", 403, {"Retry-After": "9000"}),
        ("POST", 403, {"X-RateLimit-Remaining": "0", "message": "API rate limit exceeded for installation ID 7."}),
    ]
    assert post("text", environment()).message == "comment created"
    assert github.pauses == [7.0, 60.0, 4.0]


def test_a_rate_limit_that_lasts_is_an_error_at_once(github: FakeGitHub, environment: Environment) -> None:
    words = "API rate limit exceeded for installation ID 7."
    github.script = [("POST", 403, {"X-RateLimit-Reset": str(int(time.time()) + 3600), "message": words})]
    with pytest.raises(SluiceError, match=words):
        post("text", environment())
    assert github.pauses == []


def test_a_comment_of_a_later_run_stays(github: FakeGitHub, environment: Environment) -> None:
    post("later", environment(GITHUB_RUN_ID="600"))
    assert post("earlier", environment()).message == "no comment: a later run has commented already"
    assert post("retried", environment(GITHUB_RUN_ID="600", GITHUB_RUN_ATTEMPT="2")).message == "comment updated"
    assert bodies(github) == ["<!-- sluice:comparison run=600.2 -->\nretried"]


def test_a_comment_that_is_deleted_meanwhile_is_written_anew(github: FakeGitHub, environment: Environment) -> None:
    mine = github.add(MARKER + "old")

    def delete(method: str, _: str) -> None:
        if method == "PATCH":
            github.comments.pop(mine, None)

    github.before = delete
    assert post("new", environment()).message == "comment created"
    assert bodies(github) == [MARKER + "new"]


@pytest.mark.parametrize("event", [{"ref": "refs/heads/main"}, {"issue": {"number": 3}}, []])
def test_a_run_of_something_else_posts_and_marks_nothing(
    github: FakeGitHub, environment: Environment, tmp_path: Path, event: object
) -> None:
    (tmp_path / "event.json").write_text(json.dumps(event))
    assert post("text", environment()) == CommentResult("no comment: this run is not of a pull request")
    assert mark_outdated(environment(), compares=True) == "nothing is outdated: this run is not of a pull request"
    assert github.asked == []


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"GITHUB_TOKEN": "stranger"}, "GitHub answers 401: Bad credentials"),
        ({"GITHUB_TOKEN": None}, "GITHUB_TOKEN is not set"),
        ({"GITHUB_EVENT_PATH": None}, "GITHUB_EVENT_PATH is not set"),
        ({"GITHUB_REPOSITORY": "octo/other"}, "GitHub answers 40[34]"),
        ({"GITHUB_API_URL": "http://api.example.invalid"}, "not https; the token is not sent there"),
    ],
)
def test_what_is_wrong_is_named(
    github: FakeGitHub, environment: Environment, values: dict[str, str | None], words: str
) -> None:
    with pytest.raises(SluiceError, match=words):
        post("text", environment(**values))
    assert github.comments == {}


REPORT = "https://github.invalid/octo/app/actions/runs/500/artifacts/9"


def test_below_the_verdict_is_what_opens_the_report(
    github: FakeGitHub, environment: Environment, tmp_path: Path
) -> None:
    event = {"pull_request": {"number": 7, "head": {"sha": "4" * 40}}}
    (tmp_path / "event.json").write_text(json.dumps(event))
    (tmp_path / "comment.md").write_text("## ✕ Worse: f1\n\nA sentence.\n\nA table.\n")
    found = comparison_text(tmp_path / "comment.md", REPORT, environment(GITHUB_SERVER_URL="https://github.invalid"))
    run = "[run](https://github.invalid/octo/app/actions/runs/500/attempts/1)"
    line = f"[Open the report]({REPORT}): every case with both answers · {run} · for {'4' * 40}"
    hidden = verdict_line(tmp_path, "4" * 40)
    assert found == f"## ✕ Worse: f1\n\n{hidden}\n\n{line}\n\nA sentence.\n\nA table.\n"
    assert github.asked == []
    (tmp_path / "comment.md").unlink()
    assert comparison_text(tmp_path / "comment.md", "", environment()).startswith(
        "## ! Not compared\n\n<!-- sluice:verdict"
    )


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
    post(VERDICT, environment())
    later = environment(GITHUB_RUN_ID="501", **SERVER)
    assert mark_outdated(later, compares=True).startswith("outdated: https://github.invalid/octo/app/pull/7#")
    marker, notice, _, title, *_ = body(github).splitlines()
    assert marker == "<!-- sluice:comparison run=501.1 -->"
    run = "[This run](https://github.invalid/octo/app/actions/runs/501/attempts/1)"
    assert notice.startswith(f"> **Outdated.** {run} compares {HEAD} now.")
    assert title == "## ✕ Worse: f1"
    # The run before is quicker in its last step than in being cancelled.
    said = post("## = Late", environment())
    assert said.message == "no comment: a later run has commented already"
    post("## ✓ Improved", later)
    assert body(github) == "<!-- sluice:comparison run=501.1 -->\n## ✓ Improved"


def test_the_notice_stands_once(github: FakeGitHub, environment: Environment) -> None:
    post(VERDICT, environment())
    for run in ("501", "502", "503"):
        mark_outdated(environment(GITHUB_RUN_ID=run, **SERVER), compares=run != "503")
    assert body(github).count("Outdated") == 1
    assert "compares nothing" in body(github)
    assert body(github).endswith(f"\n\n{VERDICT}")


def test_what_is_not_ours_or_later_stays(github: FakeGitHub, environment: Environment) -> None:
    for number in range(150):
        github.add(f"talk {number}", "octocat")
    github.add("<!-- sluice:comparison run=1.1 -->\ncopied", "mallory")
    before = {number: one["body"] for number, one in github.comments.items()}
    assert mark_outdated(environment(), compares=True) == "nothing is outdated: there is no comparison yet"
    ours = github.add("<!-- sluice:comparison run=600.1 -->\nlater")
    assert mark_outdated(environment(), compares=True) == "nothing is outdated: a later run has commented already"
    assert {number: one["body"] for number, one in github.comments.items() if number != ours} == before


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"GITHUB_TOKEN": READER}, "PATCH /repos/octo/app/issues/comments/101: GitHub answers 403"),
        ({"GITHUB_API_URL": "http://127.0.0.1:9"}, "no answer from GitHub"),
        ({"GITHUB_API_URL": "http://api.example.invalid"}, "not https; the token is not sent there"),
    ],
)
def test_what_is_wrong_with_marking_is_named(
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
