"""One comment, whatever happens on the way; over real HTTP to a server that behaves like GitHub."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sluice.core.errors import SluiceError
from sluice.extras.pull_requests.comment_verdict import verdict_line
from sluice.extras.pull_requests.pull_request_comment import comparison_text, upsert_comment
from sluice.github.marked_text import CommentResult
from unit.github.conftest import Environment
from unit.github.fake_github import PERSON, READER, FakeGitHub

MARKER = "<!-- sluice:comparison run=500.1 -->\n"


def post(text: str, environment: dict[str, str]) -> CommentResult:
    return upsert_comment(text, environment)


def bodies(github: FakeGitHub) -> list[str]:
    return [comment["body"] for comment in github.comments.values()]


def test_created_once_and_updated_after(github: FakeGitHub, environment: Environment) -> None:
    first = post("worse", environment())
    assert (first.message, bodies(github)) == ("comment created", [MARKER + "worse"])
    second = post("improved", environment())
    assert (second.message, second.url) == ("comment updated", first.url)
    assert bodies(github) == [MARKER + "improved"]


def test_found_on_a_later_page(github: FakeGitHub, environment: Environment) -> None:
    for number in range(230):
        github.add(f"talk {number}", "octocat")
    mine = github.add(MARKER + "old")
    assert post("new", environment()).message == "comment updated"
    assert github.comments[mine]["body"] == MARKER + "new"
    assert len(github.comments) == 231


def test_comments_of_others_stay_as_they_are(github: FakeGitHub, environment: Environment) -> None:
    copied = github.add(MARKER + "copied by somebody", "mallory")
    quoting = github.add("> " + MARKER)
    other = github.add("<!-- sluice:load run=1.1 -->\nanother report of ours")
    before = {number: github.comments[number]["body"] for number in (copied, quoting, other)}
    assert post("mine", environment()).message == "comment created"
    assert {number: github.comments[number]["body"] for number in before} == before


def test_a_person_s_token_finds_the_comments_of_the_person(github: FakeGitHub, environment: Environment) -> None:
    github.add(MARKER + "of the bot")
    assert post("one", environment(GITHUB_TOKEN=PERSON)).message == "comment created"
    assert post("two", environment(GITHUB_TOKEN=PERSON)).message == "comment updated"
    assert bodies(github) == [MARKER + "of the bot", MARKER + "two"]


def test_a_token_that_may_only_read_is_no_failure(github: FakeGitHub, environment: Environment) -> None:
    posted = post("text", environment(GITHUB_TOKEN=READER))
    assert posted.url is None
    assert "fork" in posted.message
    assert "job summary" in posted.message
    assert github.comments == {}
    assert len([one for one in github.asked if one[0] == "POST"]) == 1, "a refusal is not asked again"


@pytest.mark.parametrize("status", [500, 502, 503, 429, 0])
def test_trouble_that_passes_is_waited_for(github: FakeGitHub, environment: Environment, status: int) -> None:
    github.script = [("POST", status, {})] * 3
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
    """It is a 403, as a token that may not write gets; that one is no failure."""
    words = "API rate limit exceeded for installation ID 7."
    github.script = [("POST", 403, {"X-RateLimit-Reset": str(int(time.time()) + 3600), "message": words})]
    with pytest.raises(SluiceError, match=words):
        post("text", environment())
    assert github.pauses == []


@pytest.mark.parametrize(("status", "words"), [(503, "GitHub answers 503: planned"), (0, "no answer from GitHub")])
def test_trouble_that_stays_is_an_error_after_four_tries(
    github: FakeGitHub, environment: Environment, status: int, words: str
) -> None:
    github.script = [("POST", status, {})] * 9
    with pytest.raises(SluiceError, match=words):
        post("text", environment())
    assert len([one for one in github.asked if one[0] == "POST"]) == 4


def test_an_answer_that_got_lost_leaves_one_comment(github: FakeGitHub, environment: Environment) -> None:
    github.script, github.carried_out = [("POST", 502, {})], True
    assert post("text", environment()).message == "comment updated"
    assert bodies(github) == [MARKER + "text"]


def test_two_runs_at_once_leave_one_comment(github: FakeGitHub, environment: Environment) -> None:
    """Both have looked, and found nothing, before either writes."""
    together = threading.Barrier(2, timeout=60)

    def hold(method: str, _: str) -> None:
        if method == "POST":
            together.wait()

    github.before = hold
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(post, f"run {run}", environment(GITHUB_RUN_ID=str(run))) for run in (500, 501)]
        for run in runs:
            run.result(timeout=120)
    assert bodies(github) == ["<!-- sluice:comparison run=501.1 -->\nrun 501"]


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


def test_doubles_are_cleared_away(github: FakeGitHub, environment: Environment) -> None:
    oldest = github.add(MARKER + "one")
    github.add(MARKER + "two")
    assert post("new", environment()).message == "comment updated"
    assert list(github.comments) == [oldest]


def test_a_text_that_is_too_long_is_cut_at_a_line(github: FakeGitHub, environment: Environment) -> None:
    post("a line of the text\n" * 10_000, environment())
    (body,) = bodies(github)
    assert len(body) <= 65_536
    assert body.endswith("a line of the text\n\n_The rest did not fit; it is in the job summary._\n")


@pytest.mark.parametrize("event", [{"ref": "refs/heads/main"}, {"issue": {"number": 3}}, {"pull_request": None}, []])
def test_a_run_of_something_else_posts_nothing(
    github: FakeGitHub, environment: Environment, tmp_path: Path, event: object
) -> None:
    (tmp_path / "event.json").write_text(json.dumps(event))
    assert post("text", environment()) == CommentResult("no comment: this run is not of a pull request")
    assert github.asked == []


@pytest.mark.usefixtures("github")
def test_a_comment_on_a_pull_request_has_its_number(environment: Environment, tmp_path: Path) -> None:
    (tmp_path / "event.json").write_text(json.dumps({"issue": {"number": 7, "pull_request": {"url": "x"}}}))
    assert post("text", environment()).message == "comment created"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"GITHUB_TOKEN": None}, "GITHUB_TOKEN is not set"),
        ({"GITHUB_TOKEN": "stranger"}, "GitHub answers 401: Bad credentials"),
        ({"GITHUB_EVENT_PATH": None}, "GITHUB_EVENT_PATH is not set"),
        ({"GITHUB_EVENT_PATH": "nowhere.json"}, "GITHUB_EVENT_PATH: nowhere.json"),
        ({"GITHUB_REPOSITORY": None}, "GITHUB_REPOSITORY is not set"),
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


@pytest.mark.usefixtures("github")
def test_a_run_that_ended_before_its_comparison_says_so(environment: Environment, tmp_path: Path) -> None:
    found = comparison_text(tmp_path / "comment.md", "", environment())
    hidden = '<!-- sluice:verdict {"head": "", "passed": false, "verdict": "not compared", "worse": []} -->'
    assert found == f"## ! Not compared\n\n{hidden}\n\nThe run ended before that.\n"
