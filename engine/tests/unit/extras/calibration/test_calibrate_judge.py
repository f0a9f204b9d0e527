"""A judge is compared with people: agreement beyond chance, and the command that refuses."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sluice import cli
from sluice.core.atomic_files import read_json
from sluice.core.errors import SluiceError
from sluice.core.workspace import Workspace
from sluice.extras.calibration.calibrate_judge import (
    CASES,
    CalibrationCase,
    agreement,
    calibrate,
    calibrate_bundle,
    load_calibration,
)
from sluice.extras.calibration.metrics import Judge
from sluice.llm.settings import Providers
from sluice.prompts import load_prompt
from sluice.serving import release_parts as app_bundle
from support.providers.clients import chat_over
from support.providers.server import Upstream, upstream
from support.serving.fakes import ScriptedChat, provider_entry, scripted_bundle


def test_counts_and_kappa_of_a_worked_example() -> None:
    """20 + 15 of 50 cases agree; people pass 25, the judge 30: by chance 0.5, so kappa is (0.7 - 0.5) / 0.5."""
    people = [True] * 25 + [False] * 25
    judge = [True] * 20 + [False] * 5 + [True] * 10 + [False] * 15
    found = agreement(people, judge)
    assert (found.passed_passed, found.passed_failed, found.failed_passed, found.failed_failed) == (20, 5, 10, 15)
    assert found.raw == pytest.approx(0.7)
    assert found.by_chance == pytest.approx(0.5)
    assert found.kappa == pytest.approx(0.4)
    low, high = found.kappa_interval
    assert low < 0.4 < high
    assert (low, high) == (pytest.approx(0.1249, abs=1e-3), pytest.approx(0.6181, abs=1e-3))


@pytest.mark.parametrize(
    ("people", "judge", "kappa"),
    [
        ([True, False, True, False], [True, False, True, False], 1.0),
        ([True, False, True, False], [False, True, False, True], -1.0),
        ([True, True, False, False], [True, False, True, False], 0.0),
        ([True, True, False, False], [True, True, True, True], 0.0),  # a judge that passes everything
        ([True, True], [True, True], None),
        ([], [], None),
    ],
)
def test_kappa_at_the_edges(people: list[bool], judge: list[bool], kappa: float | None) -> None:
    found = agreement(people, judge)
    assert found.kappa == (None if kappa is None else pytest.approx(kappa))
    if kappa is None:
        assert found.kappa_interval is None


ROOT = Path(__file__).resolve().parents[5]
PROMPT = load_prompt(ROOT / "prompts/judge.prompt.yml")
LABELLED = load_calibration(CASES)
Reply = Callable[[list[dict[str, str]]], str]


@pytest.fixture
def server(loopback: None) -> Iterator[Upstream]:  # noqa: ARG001 - it opens loopback
    with upstream() as server:
        yield server


def judge_at(server: Upstream, reply: Reply) -> Judge:
    server.reply = reply
    return Judge(chat_over([server]), PROMPT, by="a/m", seconds=600, concurrency=4)


def bundle_with(judges: list[dict[str, Any]]) -> Any:
    bundle = scripted_bundle()
    providers = Providers.model_validate(bundle.providers.model_dump() | {"judge": judges})
    return bundle.__class__(**{**vars(bundle), "providers": providers, "prompts": {**bundle.prompts, "judge": PROMPT}})


def people_say(passed: bool) -> Reply:
    return lambda _: f"{'PASS' if passed else 'FAIL'}: as always"


def knows_the_labels(wrong: int = 0) -> Reply:
    """Says what people said, but the reverse for the first `wrong` cases."""
    verdicts = {(case.question, case.answer): case.passed != (n < wrong) for n, case in enumerate(LABELLED)}

    def reply(messages: list[dict[str, str]]) -> str:
        sent = messages[-1]["content"]
        (passed,) = {
            passed
            for (question, answer), passed in verdicts.items()
            if f"<question>\n{question}\n" in sent and f"<answer>\n{answer}\n</answer>" in sent
        }
        return f"{'PASS' if passed else 'FAIL'}: as people say"

    return reply


@pytest.mark.parametrize(
    ("reply", "raw", "kappa"),
    [
        (knows_the_labels(), 1.0, 1.0),
        (knows_the_labels(wrong=5), 47 / 52, 0.8),
        (people_say(True), 0.5, 0.0),  # biased: half right, and worth nothing
        (people_say(False), 0.5, 0.0),
    ],
)
def test_calibration_tells_a_good_judge_from_a_biased_one(server, reply, raw, kappa) -> None:
    found = calibrate(judge_at(server, reply), LABELLED)
    assert found.errors == {}
    assert found.agreement.raw == pytest.approx(raw)
    assert found.agreement.kappa == pytest.approx(kappa, abs=0.02)
    assert len(found.disagreements) == round((1 - raw) * len(LABELLED))
    summary = found.as_dict()
    assert summary["cases"] == summary["decided"] == len(LABELLED)
    low, high = summary["kappa_interval_95"]
    assert low <= summary["kappa"] <= high


def test_a_judge_that_babbles_gives_errors_not_verdicts(server) -> None:
    found = calibrate(judge_at(server, lambda _: "As a large language model I think it is fine."), LABELLED[:5])
    assert set(found.errors) == {case.id for case in LABELLED[:5]}
    assert found.as_dict()["decided"] == 0
    assert found.as_dict()["kappa"] is None


def labelled(path: Path, *lines: str) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def test_a_labelled_set_with_faults_tells_all_of_them(tmp_path: Path) -> None:
    good = '{"id": "a", "question": "q", "expected": [], "passages": [], "answer": "x", "passed": true}'
    path = labelled(tmp_path / "set.jsonl", good, good, '{"id": "b"}', good.replace('"passed"', '"past"'))
    with pytest.raises(SluiceError) as error:
        load_calibration(path)
    assert "set.jsonl:2: id 'a' is already used in line 1" in str(error.value)
    assert "set.jsonl:3: question: Field required" in str(error.value)
    assert "set.jsonl:4: past: unknown key (did you mean 'passed'?)" in str(error.value)
    with pytest.raises(SluiceError, match="no cases"):
        load_calibration(labelled(tmp_path / "empty.jsonl"))


@pytest.mark.parametrize(
    ("reply", "status", "says"),
    [
        (knows_the_labels(wrong=3), 0, ""),
        (people_say(True), 3, "gate judge_agrees: judge_kappa is 0; limit: at least 0.6; worst cases: retry-03"),
        (lambda _: "Fine.", 3, "judge_kappa could not be computed for 52 samples"),
    ],
)
def test_the_command_fails_below_the_limit(
    server,
    workspace: Workspace,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    reply: Reply,
    status: int,
    says: str,
) -> None:
    server.reply = reply
    entry = provider_entry(name="strict", kind="openai_compatible", base_url=f"{server.url}/v1", model="large")
    monkeypatch.setattr(app_bundle, "draft_bundle", lambda *_, **__: bundle_with([entry]))
    monkeypatch.chdir(workspace.root)
    for name in ("die_with_parent", "watch_parent"):
        monkeypatch.setattr(cli, name, lambda: None)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(sys, "argv", ["sluice", "judge", "calibrate", "--out", "found.json"])
    assert cli.main() == status
    said = capsys.readouterr()
    assert json.loads(said.out) == read_json(workspace.root / "found.json")
    assert says in said.err
    assert (said.err == "") == (status == 0)


def test_a_case_is_asked_as_an_evaluation_would_ask_it() -> None:
    case = CalibrationCase(id="a", question="q", expected=(), passages=("p",), answer="x", passed=True)
    chat = ScriptedChat({"": "PASS: x"})
    found = calibrate(Judge(chat, PROMPT, by="b", seconds=600, concurrency=1), [case])
    assert found.agreement.cases == 1
    assert "[1] p" in chat.calls[0]["messages"][-1][1]


def test_without_a_provider_there_is_nothing_to_calibrate() -> None:
    with pytest.raises(SluiceError, match="no provider in the role judge"):
        calibrate_bundle(bundle_with([]), [])
