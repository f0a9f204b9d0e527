"""Each hostile file of requests on the whole way of a pull request: what its job can read in the end has no byte of the
key, and no provider was asked."""

from __future__ import annotations

import pytest

from sluice.extras.hosted.answer_requests import key_forms
from support.actions_api import ActionsApi
from unit.extras.hosted.conftest import KEY, Main, everything, lines
from unit.extras.hosted.steps import Steps, steps_of
from unit.extras.hosted.test_hostile_files import FILES
from unit.extras.hosted.test_tools import CHANNELS


def written(name: str, main: Main) -> bytes:
    return FILES[name](main) if name in FILES else lines(CHANNELS[name](main)).replace(b"Infinity", b"1e999")


@pytest.fixture
def steps(main: Main, github: ActionsApi, monkeypatch: pytest.MonkeyPatch) -> Steps:
    return steps_of(main, github, monkeypatch)


def test_no_two_share_a_name() -> None:
    assert len({**FILES, **CHANNELS}) == len(FILES) + len(CHANNELS) >= 85


@pytest.mark.parametrize("name", [*FILES, *CHANNELS])
def test_a_pull_request_reads_why_it_was_refused_and_nothing_of_the_key(main: Main, steps: Steps, name: str) -> None:
    steps.waits(written(name, main))
    sent = dict(steps.github.archives)
    assert steps.run() == "refused"
    assert main.model.asked == []
    code, brought = steps.bring()
    assert code == 0
    refusal = (main.workspace.state / "answers-refused").read_text()
    assert refusal.startswith("requests.jsonl: ")
    published = [raw for place, raw in steps.github.archives.items() if place not in sent]
    assert len(published) == 1, "the refusal: nothing was reserved, and nothing spent"
    readable = b"".join(published).lower() + everything(main.workspace.root).lower()
    readable += (steps.told + brought + refusal).lower().encode()
    assert [form for form in key_forms(KEY) if form.encode() in readable] == []
