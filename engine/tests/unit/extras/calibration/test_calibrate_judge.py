import json
from collections.abc import Callable
from pathlib import Path

import pytest

from sluice.core.errors import SluiceError
from sluice.core.workspace import Workspace
from sluice.extras.calibration.calibrate_judge import (
    CASES,
    agreement,
    calibrate,
    calibrate_bundle,
    load_calibration,
)
from sluice.serving import release_parts
from support.serving.fakes import provider_entry
from unit.extras.calibration.conftest import PROMPT, Reply, bundle_with, judge_at


def test_counts_and_kappa_of_a_worked_example() -> None:
    """20 + 15 of 50 cases agree; people pass 25, the judge 30: by chance 0.5, so kappa is (0.7 - 0.5) / 0.5."""
    people = [True] * 25 + [False] * 25
    judge = [True] * 20 + [False] * 5 + [True] * 10 + [False] * 15
    found = agreement(people, judge)
    assert found == {
        "decided": 50,
        "agreement": pytest.approx(0.7),
        "kappa": pytest.approx(0.4),
        "kappa_interval_95": pytest.approx([0.1249, 0.6181], abs=1e-3),
        "people_passed_judge_passed": 20,
        "people_passed_judge_failed": 5,
        "people_failed_judge_passed": 10,
        "people_failed_judge_failed": 15,
    }


@pytest.mark.parametrize(
    ("people", "judge", "kappa"),
    [
        ([True, False, True, False], [True, False, True, False], 1.0),
        ([True, True, False, False], [True, True, True, True], 0.0),  # a judge that passes everything
        ([True, True], [True, True], None),
        ([], [], None),
    ],
)
def test_kappa_at_the_edges(people: list[bool], judge: list[bool], kappa: float | None) -> None:
    found = agreement(people, judge)
    assert found["kappa"] == (None if kappa is None else pytest.approx(kappa))
    assert (found["kappa_interval_95"] is None) is (kappa is None)


LABELLED = load_calibration(CASES)


def knows_the_labels(wrong: int = 0) -> Reply:
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
        (knows_the_labels(wrong=5), 47 / 52, 0.8),
        (lambda _: "PASS: as always", 0.5, 0.0),  # biased: half right, and worth nothing
    ],
)
def test_calibration_tells_a_good_judge_from_a_biased_one(server, reply, raw, kappa) -> None:
    found = calibrate(judge_at(server, reply), LABELLED)
    assert found["errors"] == {}
    assert found["agreement"] == pytest.approx(raw)
    assert found["kappa"] == pytest.approx(kappa, abs=0.02)
    assert len(found["disagreements"]) == round((1 - raw) * len(LABELLED))
    assert found["cases"] == found["decided"] == len(LABELLED)
    low, high = found["kappa_interval_95"]
    assert low <= found["kappa"] <= high


def test_a_labelled_set_with_faults_tells_all_of_them(tmp_path: Path) -> None:
    good = '{"id": "a", "question": "q", "expected": [], "passages": [], "answer": "x", "passed": true}'
    path = tmp_path / "set.jsonl"
    path.write_text("\n".join([good, good, '{"id": "b"}', good.replace('"passed"', '"past"')]))
    with pytest.raises(SluiceError) as error:
        load_calibration(path)
    assert "set.jsonl:2: id 'a' is already used in line 1" in str(error.value)
    assert "set.jsonl:3: question: Field required" in str(error.value)
    assert "set.jsonl:4: past: unknown key (did you mean 'passed'?)" in str(error.value)
    path.write_text("")
    with pytest.raises(SluiceError, match="no cases"):
        load_calibration(path)
    with pytest.raises(SluiceError, match="no provider in the role judge"):
        calibrate_bundle(bundle_with([]), [])


@pytest.mark.parametrize(
    ("reply", "status", "says"),
    [
        (knows_the_labels(wrong=3), 0, ""),
        (lambda _: "PASS: x", 3, "gate judge_agrees: judge_kappa is 0; limit: at least 0.6; worst cases: retry-03"),
        (lambda _: "Fine.", 3, "judge_kappa could not be computed for 52 samples"),
    ],
)
def test_the_command_fails_below_the_limit(
    server,
    workspace: Workspace,
    monkeypatch: pytest.MonkeyPatch,
    sluice: Callable[..., tuple[int, str, str]],
    reply: Reply,
    status: int,
    says: str,
) -> None:
    server.reply = reply
    entry = provider_entry(name="strict", kind="openai_compatible", base_url=f"{server.url}/v1", model="large")
    monkeypatch.setattr(release_parts, "draft_bundle", lambda *_, **__: bundle_with([entry], judge=PROMPT))
    monkeypatch.chdir(workspace.root)
    ended, out, err = sluice("judge", "calibrate")
    assert ended == status
    assert json.loads(out)["cases"] == len(LABELLED)
    assert says in err
    assert (err == "") == (status == 0)
