"""GitHub Releases, whole when they are seen."""

from typing import Any

import pytest
from requests import Session

from sluice.core.errors import SluiceError
from sluice.github.github_client import LIMIT, CommentResult, publish_release
from unit.github.conftest import Environment
from unit.github.fake_github import REPOSITORY, FakeGitHub

RELEASES = f"/repos/{REPOSITORY}/releases"
TAG, COMMIT = "r-0123456789ab", "1" * 40
FILES = {"release.json": b"{}", "report.html": b"<html>"}
# Requests of an unbroken run that change something: the tag, the draft, two files, its publication.
EFFECTS = 5
# Where the tag is refused, a tree, a commit and a second tag too.
EFFECTS_REFUSED = 8


class Killed(BaseException):
    """Stands for kill -9: nothing may catch it."""


def draft(github: FakeGitHub, tag: str = TAG, **more: Any) -> int:
    _, made = github.releases.answer("POST", RELEASES, {"tag_name": tag, "draft": True, "body": ""})
    made.update(more)
    return int(made["id"])


def publish(environment: Environment, **changed: Any) -> CommentResult:
    arguments = {"notes": "What changed", "files": FILES, "commit": COMMIT} | changed
    return publish_release(TAG, environment=environment(), **arguments)


def state(github: FakeGitHub) -> Any:
    return [
        (
            release["tag_name"],
            release["draft"],
            release["body"],
            {one["name"]: github.releases.contents[release["id"], one["name"]] for one in release["assets"]},
        )
        for release in github.releases.by_id.values()
    ]


WHOLE = [(TAG, False, "What changed", FILES)]


def test_it_is_made_with_notes_and_files_on_its_commit(github: FakeGitHub, environment: Environment) -> None:
    posted = publish(environment)
    assert posted.message == "release published"
    assert posted.url == next(iter(github.releases.by_id.values()))["html_url"]
    assert state(github) == WHOLE
    assert github.releases.tags == {TAG: COMMIT}
    assert len([method for method, _ in github.asked if method != "GET"]) == EFFECTS


def moves_at(github: FakeGitHub, method: str, path: str) -> None:
    """The default branch gets other workflows just before this request."""

    def before(*request: str) -> None:
        if request[0] == method and path in request[1]:
            github.releases.refused = lambda _: True

    github.before = before


@pytest.mark.parametrize(
    "at", [("GET", "/git/"), ("POST", "/git/refs"), ("POST", "/releases"), ("POST", "/uploads"), ("PATCH", "/releases")]
)
def test_a_commit_with_other_workflows_is_named_and_the_tag_has_the_manifest(
    github: FakeGitHub, environment: Environment, at: tuple[str, str]
) -> None:
    moves_at(github, *at)
    assert publish(environment).message == "release published"
    ((tag, draft, notes, files),) = state(github)
    assert (tag, draft, files) == (TAG, False, FILES)
    assert f"Made from commit {COMMIT}." in notes
    assert github.releases.plain[github.releases.tags[TAG]] == {"release.json": "{}"}
    github.asked.clear()
    assert publish(environment).message == "release was published before"
    assert {method for method, _ in github.asked} == {"GET"}


@pytest.mark.parametrize(
    ("number", "refused"),
    [(one, False) for one in range(EFFECTS)] + [(one, True) for one in range(EFFECTS_REFUSED)],
)
@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_at_any_effect_and_run_again_it_ends_as_an_unbroken_run(
    github: FakeGitHub,
    environment: Environment,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    refused: bool,
    when: str,
) -> None:
    github.releases.refused = lambda _: refused
    ask, done = Session.request, []

    def cut_off(self: Session, method: str, url: str, **options: Any) -> Any:
        if method == "GET":
            return ask(self, method, url, **options)
        done.append(url)
        if len(done) == number + 1 and when == "before":
            raise Killed
        try:
            return ask(self, method, url, **options)
        finally:
            if len(done) == number + 1:
                raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Session, "request", cut_off)
        with pytest.raises(Killed):
            publish(environment)
    assert len(done) == number + 1
    publish(environment)
    ((tag, draft, notes, files),) = state(github)
    assert (tag, draft, files, f"commit {COMMIT}" in notes) == (TAG, False, FILES, refused)
    github.asked.clear()
    publish(environment)
    assert {method for method, _ in github.asked} == {"GET"}


def test_an_answer_that_got_lost_leaves_one_release(github: FakeGitHub, environment: Environment) -> None:
    github.script, github.carried_out = [("POST", 502, {})], True
    publish(environment)
    assert state(github) == WHOLE


def test_one_that_is_published_keeps_its_place_and_its_notes(github: FakeGitHub, environment: Environment) -> None:
    publish(environment)
    draft(github)
    assert publish(environment, notes="Other").message == "release was published before"
    assert state(github) == WHOLE


def test_other_releases_are_left_alone(github: FakeGitHub, environment: Environment) -> None:
    for number in range(130):
        draft(github, f"v{number}")
    for _ in range(2):
        publish(environment)
        assert len(github.releases.by_id) == 131


def test_long_notes_are_cut_at_a_line(github: FakeGitHub, environment: Environment) -> None:
    publish(environment, notes="a line of notes\n" * 10_000)
    body = next(iter(github.releases.by_id.values()))["body"]
    assert len(body) <= LIMIT
    assert body.endswith("a line of notes\n\n_The rest did not fit._\n")


def test_the_token_goes_only_where_it_is_safe(github: FakeGitHub, environment: Environment) -> None:
    draft(github, upload_url="http://uploads.invalid/assets{?name}")
    with pytest.raises(SluiceError, match=r"upload_url: .* not https"):
        publish(environment)
