"""Requests of a run of ci on their way through answer-requests.yml: who may ask, for how much, and who is believed."""

import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from sluice.evaluation.response_cache import FOLDER, ResponseCache
from sluice.extras.hosted.request_file import ProviderRequest
from sluice.extras.hosted.spend_ledger import RESERVING
from support.actions_api import archive
from unit.extras.hosted.conftest import ANSWERING, FORK, KEY, NOON, WAITING, Main, Steps, everything, hosted, lines

ROOT = Path(__file__).resolve().parents[5]
RESPONSE = {
    "text": "A small share.", "finish_reason": "stop", "usage": [3, 2], "provider": "primary", "model": "m",
    "seconds": 0.5, "first_token_seconds": 0.1, "asked": "2026-01-01T10:00:00+00:00",
}  # fmt: skip


def test_what_a_pull_request_waits_for_is_asked_published_and_brought(main: Main, steps: Steps) -> None:
    steps.waits(lines(main.request("a"), main.request("b")))
    assert steps.run() == "ask"
    assert steps.github.again == [WAITING]
    assert len(main.model.asked) == 2
    kept = {line["digest"]: line["value"] for line in main.answers}
    empty = main.workspace.state / FOLDER
    for path in empty.rglob("*.json"):
        path.unlink()
    assert steps.bring() == (0, "2 responses of answer-requests\n")
    cache = ResponseCache(empty)
    assert {digest: cache.get(digest) for digest in kept} == kept
    assert steps.github.tokens_at_storage
    assert set(steps.github.tokens_at_storage) == {None}
    published = b"".join(steps.github.archives.values())
    assert KEY.encode() not in published + everything(main.workspace.root) + steps.told.encode()


def test_what_main_knows_is_not_asked_again(main: Main, steps: Steps) -> None:
    steps.waits(lines(main.request("a")))
    steps.waits(lines(main.request("a"), main.request("b")), 501, branch="other")
    assert (steps.run(), steps.run(501)) == ("ask", "ask")
    assert [one.json["messages"][0]["content"] for one in main.model.asked] == ["a", "b"]
    assert "1 of them new" in steps.told


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"event": "push"}, "not a run of ci"),
        ({"status": "in_progress"}, "has not finished"),
        ({"head_repository": None}, "its repository no longer exists"),
    ],
)
def test_only_a_run_of_ci_for_a_pull_request_is_answered(
    main: Main, steps: Steps, changes: dict[str, Any], says: str
) -> None:
    steps.waits(lines(main.request()), **changes)
    steps.set(steps.github.environment(901))
    done = main.sluice("answers", "check", "--run", str(WAITING))
    assert (done.code, says in done.text) == (1, True)
    assert main.sluice("answers", "resume", "--run", str(WAITING)).code == 1
    assert steps.github.again == []


@pytest.mark.parametrize(("authors", "event"), [("write", "workflow_dispatch"), ("all", "workflow_run")])
def test_a_stranger_is_answered_by_hand_or_by_the_settings(main: Main, steps: Steps, authors: str, event: str) -> None:
    steps.waits(lines(main.request()), head_repository=FORK)
    assert steps.run() == "refused"
    assert "its author may not write" in steps.told
    assert main.model.asked == []
    main.limit(authors=authors)
    steps.github.add_run(WAITING, run_attempt=2, head_repository=FORK)  # has shown the refusal, and asks for nothing
    assert steps.run(event=event) == ("ask" if event == "workflow_dispatch" else "none")
    steps.waits(lines(main.request("and then?")), WAITING + (event == "workflow_run"), head_repository=FORK)
    assert steps.run(WAITING + (event == "workflow_run")) == "ask"


AUTHORS = {  # owner of the head repository and opener; octocat, who may write, has pressed *Update branch* everywhere
    ("octo", "renovate[bot]"): "ask",
    ("octocat", "octocat"): "ask",
    ("octocat", "stranger"): "refused",
    ("stranger", "octocat"): "refused",
    ("stranger", "renovate[bot]"): "refused",
    ("some-app[bot]", "octocat"): "refused",
    ("octocat", ""): "refused",
}


@pytest.mark.parametrize("authors", AUTHORS, ids="-".join)
def test_who_wrote_a_change_counts_and_not_who_clicked(main: Main, steps: Steps, authors: tuple[str, str]) -> None:
    owner, opener = authors
    repository = {"full_name": f"{owner}/app", "owner": {"login": owner}}
    if opener:
        steps.github.add_pull(opener, owner)
    steps.waits(lines(main.request()), head_repository=repository)
    assert steps.run() == AUTHORS[authors], steps.told


def test_eight_pull_requests_at_once_stay_within_the_day(main: Main, steps: Steps) -> None:
    first = main.request("question 1")
    each = (ProviderRequest.model_validate(first).size * 1.0 + 32 * 2.0) / 1e6
    main.limit(dollars_per_day=each * 3.5, dollars_per_change=1)
    for number in range(8):
        steps.waits(lines(main.request(f"question {number}")), 500 + number, branch=f"change-{number}")
    states = [steps.run(500 + number, ask=number % 2 == 0) for number in range(8)]
    # Those that died before they asked have spent what they reserved; the others what they used, which is less.
    used = (11 * 1.0 + 3 * 2.0) / 1e6
    assert states[:4] == ["ask"] * 4
    assert steps.spent[:4] == pytest.approx([used, each, used, each])
    assert sum(steps.spent) <= each * 3.5
    before = 0.0
    for state, amount in zip(states, [used, each] * 4, strict=True):
        assert (state == "ask") == (before + each <= each * 3.5)
        before += amount if state == "ask" else 0
    assert "refused" in states
    assert len(main.model.asked) == sum(state == "ask" for state in states[::2])


def test_the_job_with_the_key_keeps_what_was_paid_for_and_makes_no_deployment() -> None:
    job = yaml.safe_load((ROOT / ".github" / "workflows" / ANSWERING).read_text())["jobs"]["answer"]
    asks, keeps = job["steps"][(last := [step.get("name") for step in job["steps"]].index("Ask")) : last + 2]
    assert "actions/cache/save@" in keeps["uses"]
    assert keeps["if"] == f"${{{{ always() && {asks['if']} }}}}"
    assert job["environment"] == {"name": "evaluation", "deployment": False}
    assert RESERVING in [step.get("name") for step in job["steps"]], "which the ledger looks for"


def test_a_provider_that_counts_more_than_was_reserved_is_believed(main: Main, steps: Steps) -> None:
    request = ProviderRequest.model_validate(main.request())
    main.model.used = (request.size * 100, 32)
    bill = (main.model.used[0] * 1.0 + 32 * 2.0) / 1e6
    main.limit(dollars_per_day=bill, dollars_per_change=bill)
    for number in range(2):
        steps.waits(lines(main.request(f"question {number}")), 500 + number, branch=f"change-{number}")
    assert (steps.run(500), steps.run(501)) == ("ask", "refused")
    assert steps.spent[0] == pytest.approx(bill)


def test_an_answer_that_nothing_shortens_is_reserved_as_the_longest(main: Main, steps: Steps) -> None:
    (main.workspace.config / "providers.yaml").write_text(hosted(main.model.url, omit=["max_tokens"]))
    steps.waits(lines(main.request()))
    assert steps.run(ask=False) == "ask"
    assert steps.spent == pytest.approx([(ProviderRequest.model_validate(main.request()).size + 2048 * 2.0) / 1e6])


@pytest.mark.parametrize(("name", "status", "found"), [("1", 200, "true"), ("2", 200, "false"), ("2", 404, "true")])
def test_whether_a_run_has_questions_is_seen_before_anything_is_installed(
    steps: Steps, tmp_path: Path, name: str, status: int, found: str
) -> None:
    steps.waits(b"{}")
    steps.github.script = [("GET", status, {})] * (status != 200)
    words = f"-I -S {ROOT}/engine/scripts/ci.py artifact --of 500 --name requests-{name}"
    subprocess.run(
        [sys.executable, *words.split()],
        env=steps.github.environment(901, GITHUB_OUTPUT=str(tmp_path / "output")),
        check=True,
    )
    assert (tmp_path / "output").read_text() == f"found={found}\n"


def test_an_attempt_that_is_run_again_has_spent_what_the_one_before_it_reserved(main: Main, steps: Steps) -> None:
    main.limit(dollars_per_day=0.00015)
    steps.waits(lines(main.request()))
    assert steps.run(ask=False) == "ask"
    assert steps.run(attempt=2) == "refused"
    assert main.model.asked == []


def test_a_run_is_answered_as_often_as_allowed(main: Main, steps: Steps) -> None:
    main.limit(rounds=2)
    for number in range(3):
        steps.waits(lines(main.request(f"question {number}")))
        assert steps.run() == ("ask" if number < 2 else "none")
    assert steps.github.again == [WAITING, WAITING]


PUSHED = {"head_sha": "b" * 40, "conclusion": None, "status": "in_progress"}
LATER: dict[str, tuple[dict[str, Any], bool]] = {
    "a push": (PUSHED, True),
    "another base": ({}, True),
    "a new title": ({"retitled": True}, False),
    "a push to another branch": ({**PUSHED, "branch": "other"}, False),
    "a push to a fork's branch of the same name": ({**PUSHED, "head_repository": FORK}, False),
}


@pytest.mark.parametrize("later", LATER)
def test_the_newest_run_of_a_branch_is_answered(main: Main, steps: Steps, later: str) -> None:
    changes, replaces = LATER[later]
    steps.waits(lines(main.request("a")))
    steps.meanwhile = lambda: steps.github.add_run(510, **changes)
    assert steps.run() == "ask"
    assert steps.github.again == [WAITING] * (not replaces), "while it was asked"
    again = len(steps.github.again)
    steps.waits(lines(main.request("b")))
    assert steps.run() == ("none" if replaces else "ask")
    assert len(steps.github.again) == again + (not replaces)
    assert ("run 510 compares what was pushed since" in steps.told) == replaces


@pytest.mark.parametrize(
    ("event", "earlier", "says"),
    [
        ("pull_request", "failure", "pending=true\n"),
        ("pull_request", "success", "pending=false\n"),
        ("merge_group", "failure", ""),  # nobody answers it
    ],
)
def test_a_run_may_wait_without_being_red_if_nothing_has_passed_for_its_commit(
    main: Main, steps: Steps, tmp_path: Path, event: str, earlier: str, says: str
) -> None:
    (tmp_path / "output").write_text("")
    steps.github.add_run(400, conclusion=earlier)
    steps.github.add_run(WAITING, conclusion=None, status="in_progress")
    more = {"GITHUB_EVENT_NAME": event, "GITHUB_OUTPUT": str(tmp_path / "output"), "PENDING_ANSWERS": "on"}
    steps.set(steps.github.environment(WAITING, **more))
    assert main.sluice("answers", "bring").code == 0
    assert (tmp_path / "output").read_text() == says


def test_a_run_that_waits_without_being_red_is_run_again(main: Main, steps: Steps) -> None:
    steps.waits(lines(main.request()), conclusion="success")
    assert steps.run() == "ask"
    assert steps.github.again == [WAITING]


def test_a_run_that_asks_again_after_a_refusal_is_left_alone(steps: Steps) -> None:
    states = []
    for _ in range(3):
        steps.waits(b"what `sluice eval` never writes")
        states.append(steps.run())
    assert states == ["refused", "none", "none"]
    assert steps.github.again == [WAITING]


ENTRY = {"run": 499, "change": "octo/app:change", "dollars": 99.0, "day": "2026-01-01"}
EVENING = {"created_at": "2025-12-31T20:00:00Z"}
TAG = {"head_sha": "e" * 40}  # a branch is named by its runs, and so is a tag
LEDGERS: dict[str, tuple[str, dict[str, Any], dict[str, Any] | None]] = {
    "less than the limit": ("ask", {}, ENTRY | {"dollars": 9}),
    "the limit of the change": ("refused", {}, ENTRY),
    "of another change": ("ask", {}, ENTRY | {"change": "octo/app:other"}),
    "the limit of the day": ("refused", {}, ENTRY | {"change": "octo/app:other", "dollars": 200.0}),
    "another day's": ("ask", {}, ENTRY | {"day": "2025-12-31"}),
    "today's, by a run of yesterday": ("refused", EVENING, ENTRY),
    "of a tag called main": ("ask", TAG, ENTRY),
    "negative": ("refused", {}, ENTRY | {"dollars": -1e9}),
    "infinite": ("refused", {}, ENTRY | {"dollars": float("-inf")}),
    "no entry": ("refused", {}, {"run": 1}),
    "deleted": ("refused", {}, None),
}


@pytest.mark.parametrize("name", LEDGERS)
def test_what_was_spent_counts_and_what_is_not_known_is_the_limit(main: Main, steps: Steps, name: str) -> None:
    state, changes, entry = LEDGERS[name]
    main.limit(dollars_per_day=200, dollars_per_change=50)
    steps.github.add_run(800, ANSWERING, branch="main", **{"created_at": NOON, **changes})
    steps.github.reserved.add((800, 1))
    if entry:
        steps.github.archives[800, "spend-used-1"] = archive(spend__json=json.dumps(entry).encode())
    steps.waits(lines(main.request()))
    assert steps.run() == state, steps.told


def test_a_run_that_began_long_ago_and_a_day_with_too_many_runs_spend_nothing(main: Main, steps: Steps) -> None:
    steps.waits(lines(main.request()))
    steps.made = "2025-12-31T17:00:00Z"
    assert (steps.run(), "started on another day" in steps.told) == ("refused", True)
    steps.made = NOON
    for number in range(1000):
        steps.github.add_run(2000 + number, ANSWERING, branch="main", created_at=NOON, conclusion="skipped")
    assert (steps.run(event="workflow_dispatch"), "no more than 1000 runs" in steps.told) == ("refused", True)


def packed(how: int) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", how) as opened:
        opened.writestr("requests.jsonl", "{}" * 99)
    raw = bytearray(written.getvalue())
    raw[53:60] = b"\xff" * 7  # behind the headers
    return bytes(raw)


ARCHIVES: dict[str, bytes] = {
    "not an archive": b"PK\x03\x04 and no more",
    "a path upwards": archive(**{"../../requests__jsonl": b"{}"}),
    "a file beside it": archive(requests__jsonl=b"{}", **{"__github/workflows/ci__yml": b"on: push"}),
    "no file": archive(),
    "damaged by LZMA": packed(zipfile.ZIP_LZMA),
    "damaged by bzip2": packed(zipfile.ZIP_BZIP2),
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_an_archive_of_anything_else_is_refused(main: Main, steps: Steps, name: str) -> None:
    steps.github.add_run(WAITING)
    steps.github.archives[WAITING, "requests-1"] = ARCHIVES[name]
    assert steps.run() == "refused"
    assert main.model.asked == []
    assert [*main.answers[0]] == ["refused"]


FORGED: dict[str, dict[str, Any]] = {
    "of the pull request's own run": {"workflow": "ci.yml"},
    "of another workflow that says it is this one": {"path": ".github/workflows/other.yml"},
    "of another branch": {"branch": "change"},
    "of a fork's branch of the same name": {"head_repository": FORK},
    "of a pull request": {"event": "pull_request"},
    "of a tag called main": TAG,
}


@pytest.mark.parametrize("name", ["", *FORGED])
def test_a_response_is_taken_from_main_and_from_nobody_else(main: Main, steps: Steps, name: str) -> None:
    digest = main.request()["digest"]
    steps.github.add_run(WAITING)
    settings = {"workflow": ANSWERING, "branch": "main", "created_at": "2026-01-02T10:00:00Z"} | FORGED.get(name, {})
    steps.github.add_run(700, **settings)
    content = lines({"digest": digest, "value": RESPONSE})
    steps.github.archives[700, f"answers-{WAITING}"] = archive(answers__jsonl=content)
    assert steps.bring() == (0, f"{int(not name)} responses of answer-requests\n")
    assert ResponseCache(main.workspace.state / FOLDER).get(digest) == (None if name else RESPONSE)


BROKEN: dict[str, bytes] = {
    "a path as digest": lines({"digest": "../" * 20, "value": RESPONSE}),
    "a digest without a response": lines({"digest": "0" * 64}),
    "a time that is none": lines({"digest": "0" * 64, "value": RESPONSE}).replace(b"0.5", b"NaN"),
    "no JSON": b"{\n",
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_file_of_answers_that_is_damaged_is_refused_as_a_whole(main: Main, steps: Steps, name: str) -> None:
    good = "1" * 64
    steps.github.add_run(WAITING)
    steps.github.add_run(700, ANSWERING, branch="main", created_at="2026-01-02T10:00:00Z")
    content = lines({"digest": good, "value": RESPONSE}) + BROKEN[name]
    steps.github.archives[700, f"answers-{WAITING}"] = archive(answers__jsonl=content)
    code, told = steps.bring()
    assert (code, "answers.jsonl: " in told) == (1, True)
    assert ResponseCache(main.workspace.state / FOLDER).get(good) is None


def test_the_first_attempt_asks_github_for_nothing(main: Main, steps: Steps) -> None:
    steps.set(steps.github.environment(WAITING))
    assert main.sluice("answers", "bring").code == 0  # the double knows no such run


def test_an_archive_at_another_address_gets_no_token(main: Main, steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    steps.waits(lines(main.request()))
    (listed,) = steps.github._artifacts(str(WAITING))
    elsewhere = listed | {"archive_download_url": f"{steps.github.storage}/storage/0"}
    monkeypatch.setattr(steps.github, "_artifacts", lambda number, _: [elsewhere] * bool(number))
    assert steps.run() == "refused"
    assert steps.github.tokens_at_storage == []
