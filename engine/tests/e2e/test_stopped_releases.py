"""What a change that makes answers or the service worse comes to, in a fork whose first release is live.

The tests follow one fork and depend on their order.
"""

from __future__ import annotations

import html
import json
import re
import subprocess
from collections.abc import Iterator

import pytest

from e2e.small_fork import Fork, released

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(3600)]


@pytest.fixture(scope="module")
def fork(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fork]:
    made = Fork(tmp_path_factory.mktemp("fork") / "clone")
    code, output = made.run("release", "make")
    assert code == 0, output
    yield made
    assert not made.left()


@pytest.fixture(autouse=True)
def unedited(fork: Fork) -> Iterator[None]:
    """Takes back what a test edits, so that one that fails leaves nothing to those behind it."""
    yield
    subprocess.run(["git", "checkout", "-q", "--", "prompts", "config"], cwd=fork.root, check=True)


def test_a_prompt_that_ruins_answers_is_called_worse_before_it_is_merged(fork: Fork) -> None:
    before = fork.champion
    fork.edit_prompt("maxTokens: 160", "maxTokens: 1")  # every answer is cut after its first token
    code, output = fork.run("eval", "--base", "HEAD")
    assert code == 3, output
    assert re.search(r"^Worse: .*answer_key", output, re.MULTILINE)
    assert re.search(r"^broken: ", output, re.MULTILINE)
    for stage in ("index", "train"):
        assert len(re.findall(rf"{stage}\s+unchanged, taken from the cache", output)) == 2  # on both sides
    reports = fork.root / "build" / "comparison"
    assert json.loads((reports / "comparison.json").read_text())["verdict"] == "worse"
    for name in ("comment.md", "report.html", "junit.xml"):
        assert "answer_key" in html.unescape((reports / name).read_text())  # the comment escapes underscores
    fork.edit_prompt("maxTokens: 1", "maxTokens: 160")
    code, output = fork.run("eval", "--base", "HEAD")
    assert (code, "Nothing changed" in output) == (0, True), output
    assert fork.champion == before


def test_what_nobody_was_asked_is_never_green(fork: Fork) -> None:
    fork.edit_prompt("the one or two", "the best two")
    code, output = fork.run("eval", "--base", "HEAD", "--replay")
    assert code == 3, output
    assert "the verdict is: not evaluated" in output
    assert re.search(r"not evaluated in head: .*more|not evaluated in head: ", output)


def test_a_prompt_that_ruins_answers_is_refused_by_the_gates(fork: Fork) -> None:
    before = fork.champion
    fork.edit_prompt("maxTokens: 160", "maxTokens: 1")  # every answer is cut after its first token
    code, output = fork.run("release", "make")
    assert code == 3, output
    assert "refused by the gates" in output
    assert re.search(r"gate comparison_answer_key: \w+ is [\d.]+ against 0\.\d+ of champion", output)
    assert re.search(r"train\s+unchanged, taken from the cache", output)
    assert fork.champion == before
    assert not (fork.folder(released(output)) / "rehearsal.json").exists()


@pytest.mark.parametrize(
    ("fault", "gate"),
    [
        ("delay=8", r"gate canary_(slowdown|ttft_slowdown|total_p95): "),
        ("error=0.5", r"quality: the canary failed on '.+': http://127\.0\.0\.1:\d+: status 503"),
    ],
)
def test_a_bad_canary_is_stopped(fork: Fork, fault: str, gate: str) -> None:
    before = fork.champion
    service = (
        fork.root / "config" / "service.yaml"
    )  # another release with the same answers, which need not be asked for
    service.write_text(service.read_text().replace("drain_seconds: 28", "drain_seconds: 29"))
    code, output = fork.run("release", "make", "--fault", fault)
    assert code == 1, output
    assert "stopped by the canary" in output
    name = released(output)
    assert fork.champion == before != name
    rehearsal = json.loads((fork.folder(name) / "rehearsal.json").read_text())
    assert re.search(gate, rehearsal["reason"])
    assert rehearsal["weights"][-1][1] == 0
    assert rehearsal["traffic"]["requests"] > 0
    assert not any(cause.startswith(("stable", "nobody")) for cause in rehearsal["traffic"]["failures"])
    assert not fork.left()


def test_a_release_is_rehearsed_where_there_is_no_data(fork: Fork) -> None:
    """As in the job of release.yml, whose checkout has none: gates and cases are those that the release pins."""
    (stopped, *_) = sorted(
        name for name in fork.releases - {fork.champion} if (fork.folder(name) / "rehearsal.json").exists()
    )
    data, away = fork.root / "data", fork.root / "away"
    data.rename(away)
    try:
        code, output = fork.run("rehearse", stopped, "--fault", "error=0.5")
    finally:
        away.rename(data)
    assert code == 1, output
    assert re.search(r"the canary r-\w+ was stopped: quality: the canary failed on '.+': .* status 503", output)
