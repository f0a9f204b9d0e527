"""One issue, over HTTP to a fake GitHub."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from sluice.core.errors import SluiceError
from sluice.github.github_client import CommentResult
from sluice.github.tracked_issue import close_issue, report_trouble, upsert_issue
from unit.github.conftest import Environment
from unit.github.fake_github import APP, LOGINS, FakeGitHub

MARKER = "<!-- sluice:nightly run=500.1 -->\n"


def report(text: str, environment: dict[str, str], title: str = "Nightly fails") -> CommentResult:
    return upsert_issue(title, text, environment, marker="nightly")


def close(text: str, environment: dict[str, str]) -> CommentResult:
    return close_issue(text, environment, marker="nightly")


def shown(github: FakeGitHub) -> list[tuple[str, str, str]]:
    return [(issue["state"], issue["title"], issue["body"]) for issue in github.issues.values()]


def test_opened_once_updated_after_and_closed_when_it_is_over(github: FakeGitHub, environment: Environment) -> None:
    first = report("one job", environment())
    assert first.message == "issue opened"
    second = report("two jobs", environment(), "Nightly still fails")
    assert (second.message, second.url) == ("issue updated", first.url)
    assert shown(github) == [("open", "Nightly still fails", MARKER + "two jobs")]
    assert close("green", environment()) == CommentResult("issue closed", first.url)
    (issue,) = github.issues.values()
    assert (issue["state"], issue["state_reason"], issue["comments"]) == ("closed", "completed", ["green"])
    assert report("again", environment()).message == "issue opened", "what is closed stays closed"
    assert [state for state, _, _ in shown(github)] == ["closed", "open"]


def test_an_app_of_the_organisation_finds_its_own_issue_again(github: FakeGitHub, environment: Environment) -> None:
    own = environment(GITHUB_TOKEN=APP)
    assert [report(text, own).message for text in ("one", "two")] == ["issue opened", "issue updated"]
    assert [issue["user"]["login"] for issue in github.issues.values()] == [LOGINS[APP]]
    assert report("mine", environment()).message == "issue opened", "that of another is left alone"
    assert close("green", own).message == "issue closed"
    assert [state for state, _, _ in shown(github)] == ["closed", "open"]


def test_issues_of_others_and_pull_requests_stay_as_they_are(github: FakeGitHub, environment: Environment) -> None:
    github.open("copied", MARKER + "copied", "mallory")
    github.open("other", "<!-- sluice:canary run=1.1 -->\nabout something else")
    github.open("quoted", "> " + MARKER)
    github.open("a pull request", MARKER, pull_request={})
    before = shown(github)
    assert report("mine", environment()).message == "issue opened"
    assert shown(github)[:4] == before
    assert close("green", environment()).message == "issue closed"
    assert shown(github)[:4] == before


def test_two_runs_at_once_leave_one_open_issue(github: FakeGitHub, environment: Environment) -> None:
    together = threading.Barrier(2, timeout=60)

    def hold(method: str, path: str) -> None:
        if method == "POST" and path.endswith("/issues"):
            together.wait()

    github.before = hold
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(report, f"run {run}", environment(GITHUB_RUN_ID=str(run))) for run in (500, 501)]
        for run in runs:
            run.result(timeout=120)
    assert [body for state, _, body in shown(github) if state == "open"] == [
        "<!-- sluice:nightly run=501.1 -->\nrun 501"
    ]


def test_an_answer_that_got_lost_leaves_one_open_issue(github: FakeGitHub, environment: Environment) -> None:
    github.script, github.carried_out = [("POST", 502, {})], True
    assert report("text", environment()).message == "issue updated"
    assert [body for state, _, body in shown(github) if state == "open"] == [MARKER + "text"]


def test_what_a_later_run_wrote_stays(github: FakeGitHub, environment: Environment) -> None:
    report("later", environment(GITHUB_RUN_ID="600"))
    assert "a later run" in report("earlier", environment()).message
    assert "a later run" in close("earlier", environment()).message
    assert shown(github) == [("open", "Nightly fails", "<!-- sluice:nightly run=600.1 -->\nlater")]


def test_long_texts_and_titles_of_several_lines(github: FakeGitHub, environment: Environment) -> None:
    report("a line\n" * 20_000, environment(), "first\nsecond " + "x" * 400)
    ((_, title, body),) = shown(github)
    assert title.startswith("first second x")
    assert (len(title), title[-1]) == (256, "…")
    assert len(body) <= 65_536


def test_issues_that_are_switched_off(github: FakeGitHub, environment: Environment) -> None:
    github.script = [("GET", 403, {}), ("GET", 410, {})]
    with pytest.raises(SluiceError, match="switch issues on"):
        report("text", environment())


def trouble(environment: dict[str, str], **results: str) -> CommentResult:
    needs = json.dumps({job: {"result": result, "outputs": {}} for job, result in results.items()})
    return report_trouble("Nightly fails", needs, environment, marker="nightly")


def test_a_failing_job_opens_the_issue_with_all_jobs_and_a_link(github: FakeGitHub, environment: Environment) -> None:
    here = environment(GITHUB_SERVER_URL="https://github.invalid", GITHUB_SHA="abc")
    assert trouble(here, soak="failure", audit="success", image="skipped").message == "issue opened"
    ((state, title, body),) = shown(github)
    assert (state, title) == ("open", "Nightly fails")
    assert "[This run](https://github.invalid/octo/app/actions/runs/500/attempts/1) of commit abc failed." in body
    for row in ("| `soak` | `failure` |", "| `audit` | `success` |", "| `image` | `skipped` |"):
        assert row in body


def test_the_first_run_that_is_whole_closes_it(github: FakeGitHub, environment: Environment) -> None:
    trouble(environment(), soak="failure", audit="success")
    assert trouble(environment(), soak="skipped", audit="skipped").url is None
    assert [state for state, _, _ in shown(github)] == ["open"]
    assert trouble(environment(), soak="success", audit="success", image="skipped").message == "issue closed"
    assert [state for state, _, _ in shown(github)] == ["closed"]
