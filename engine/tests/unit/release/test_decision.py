import asyncio
import copy
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sluice.core.errors import SluiceError, ValidationErrors
from sluice.data.rows import Row
from sluice.evaluation.comparison import compare
from sluice.evaluation.comparison_policy import load_policy
from sluice.evaluation.comparison_result import Comparison
from sluice.evaluation.registry import MetricBatcher, MetricResources, Output, make_metrics
from sluice.evaluation.reports import phrasing
from sluice.evaluation.runner import run_cases
from sluice.evaluation.summary import summarise, write_results
from sluice.release.decision import decide_release, detection, figures, reference, require_rows, verdicts_of
from sluice.release.gates import Measurement
from sluice.release.verdict import Verdict

GATES = Path(__file__).parents[4] / "config" / "gates.yaml"
# The policy names them; here nobody embeds.
NEVER_ASKED = [metric for metric in make_metrics(MetricResources(MetricBatcher(list))) if metric.resources]
ROWS = [
    *(Row(id=f"q{n}", question=f"What is {n}?", answers=(f"a {n}",), doc_ids=("right",)) for n in range(110)),
    *(Row(id=f"u{n}", question=f"What is not {n}?", answers=(), doc_ids=()) for n in range(40)),
]
Records = list[dict[str, Any]]


class Answers:
    def __init__(self, *, late: int = 0, rank: int = 1, wrong: int = 0, invents: int = 0) -> None:
        self.late = {f"q{n}" for n in range(late)}
        self.rank = rank
        self.wrong = {f"q{n}" for n in range(wrong)}
        self.invents = {f"u{n}" for n in range(invents)}

    async def ask(self, row: Row, *, trial: int) -> Output:  # noqa: ARG002 - the protocol's signature
        rank = self.rank if row.id in self.late else 1
        declined = not row.answers and row.id not in self.invents
        return Output(
            text="no" if declined or row.id in self.wrong else " ".join(row.answers) or "something",
            declined=declined,
            retrieved=(*(f"wrong{n}" for n in range(1, rank)), *row.doc_ids),
            citations=() if declined else row.doc_ids,
            latency_ms=100.0,
            ttft_ms=10.0,
            prompt_tokens=100,
            completion_tokens=3,
        )


def asked(rows: Sequence[Row] = ROWS, **answers: Any) -> Records:
    cheap = [metric for metric in make_metrics() if metric.name not in ("language", "same_language")]
    return asyncio.run(run_cases(rows, Answers(**answers), cheap, concurrency=8, on_progress=lambda *_: None))


def written(folder: Path, records: Records, rows: Sequence[Row] = ROWS) -> Path:
    folder.mkdir(exist_ok=True)
    write_results(folder, summarise(rows, records, [*make_metrics(), *NEVER_ASKED]), records)
    return folder


def pull_request(base: Records, head: Records, gates: Path = GATES) -> Comparison:
    """As sluice.jobs.compare_change compares, at its last look."""
    policy = load_policy(gates)
    return compare(base, head, [*make_metrics(), *NEVER_ASKED], policy, policy.looks[-1])


def release(folder: Path, champion: Records, candidate: Records, gates: Path = GATES) -> list[Verdict]:
    return decide_release(gates, written(folder / "candidate", candidate), written(folder / "champion", champion))


def refused(verdicts: Sequence[Verdict]) -> dict[str, str]:
    return {verdict.gate: verdict.reason for verdict in verdicts if not verdict.passed}


@pytest.mark.parametrize(
    ("fallen", "to", "refusing"),
    [
        (0, 1, set()),
        (4, 2, set()),  # a few: within what the policy calls the same
        (5, 2, {"comparison_mrr"}),
        (6, 4, {"comparison_mrr", "comparison_ndcg_at_5"}),
    ],
)
def test_a_worse_ranking_is_refused_whatever_recall(tmp_path: Path, fallen: int, to: int, refusing: set[str]) -> None:
    base, head = asked(), asked(late=fallen, rank=to)
    assert refused(release(tmp_path, base, head)).keys() == refusing
    assert pull_request(base, head).passed == (not refusing)


@pytest.mark.parametrize("unsure", ["promote", "refuse"])
def test_a_fall_that_may_be_chance_is_said_or_refused(tmp_path: Path, unsure: str) -> None:
    gates = tmp_path / "gates.yaml"
    gates.write_text(GATES.read_text().replace("unsure: promote", f"unsure: {unsure}"))
    base, head = asked(), asked(wrong=4)
    found = pull_request(base, head, gates)
    assert found.verdict == "no difference seen"
    assert "answer_key" in {metric.name for metric in found.unsure}
    assert "fell by as much as matters, and may be chance: " in phrasing.sentence(found)
    assert "where a fall below" in phrasing.sentence(found)
    assert found.passed == (unsure == "promote")
    reasons = refused(release(tmp_path, base, head, gates))
    named = {f"comparison_{metric.name}" for metric in found.unsure}
    assert reasons.keys() == (named if unsure == "refuse" else set())
    assert all("a fall that may be chance (`unsure: refuse`)" in reason for reason in reasons.values())
    assert pull_request(base, base, gates).unsure == ()


def spoiled(records: Records, case: int, **changed: Any) -> Records:
    found = copy.deepcopy(records)
    found[case] |= changed
    return found


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"errors": {"f1": "boom"}}, "comparison: f1 crashed on 1 of head: q3"),
        ({"status": "failed"}, "comparison: 1 failed in head: q3"),
        ({"id": "q4"}, "comparison: 1 case in head more than once for the same trial: q4"),
    ],
)
def test_silence_is_refused(tmp_path: Path, changed: dict[str, Any], says: str) -> None:
    base = asked()
    head = spoiled(base, 3, **changed)
    found = release(tmp_path, base, head)
    assert [one.passed for one in found if one.gate == "comparison"] == [False] * len(pull_request(base, head).reasons)
    assert says in [one.reason for one in found if not one.passed]


def write_summary(folder: Path, rows: list[dict[str, Any]], *, digest: str = "c", **metric: Any) -> Path:
    folder.mkdir()
    f1 = {"value": 0.5, "samples": 30, "errors": 1, "unit": "share", "direction": "higher", **metric}
    latency = {"value": 900.0, "samples": 30, "errors": 0, "unit": "ms", "direction": "lower"}
    summary = {"cases_digest": digest, "cases": 30, "metrics": {"f1": f1, "latency_p95_ms": latency}}
    (folder / "summary.json").write_text(json.dumps(summary))
    (folder / "cases.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def row(case: str, f1: float | None, latency: float = 1.0, errors: dict[str, str] | None = None) -> dict[str, Any]:
    return {"id": case, "scores": {"f1": f1, "latency_p95_ms": latency}, "errors": errors or {}}


def test_the_worst_cases_come_first_errors_before_all(tmp_path: Path) -> None:
    rows = [row("best", 1.0, 3), row("low", 0.1, 1), row("lower", 0.0, 2), row("crashed", None, 9, {"f1": "boom"})]
    found = figures(write_summary(tmp_path / "e", rows))
    assert (found["f1"].value, found["f1"].samples, found["f1"].errors) == (0.5, 30, 1)
    assert found["f1"].cases == ("crashed", "lower", "low")
    assert found["latency_p95_ms"].cases == ("crashed", "best", "lower", "low")


def test_an_assertion_has_its_share_and_those_that_did_not_hold(tmp_path: Path) -> None:
    held, broken = {"passed": True, "reason": ""}, {"passed": False, "reason": "in de"}
    rows: list[dict[str, Any]] = [
        {"id": "good", "scores": {}, "assertions": {"same_language": held}, "errors": {}},
        {"id": "bad", "scores": {}, "assertions": {"same_language": broken}, "errors": {}},
        {"id": "none", "scores": {}, "assertions": {}, "errors": {}},
        {"id": "crashed", "scores": {}, "errors": {"same_language": "boom"}},
    ]
    folder = write_summary(tmp_path / "e", rows)
    summary = json.loads((folder / "summary.json").read_text())
    share = {"share": 0.5, "passed": 1, "samples": 2, "errors": 1, "unit": "share", "direction": "higher"}
    (folder / "summary.json").write_text(json.dumps(summary | {"assertions": {"same_language": share}}))
    assert figures(folder)["same_language"] == Measurement(0.5, 2, 1, ("crashed", "bad"))


def test_a_champion_that_was_asked_other_cases_is_no_reference(tmp_path: Path) -> None:
    candidate = write_summary(tmp_path / "e", [row("a", 1.0)])
    assert reference(candidate, write_summary(tmp_path / "c", [row("a", 0.5)]))["f1"].value == 0.5
    with pytest.raises(SluiceError, match="asked other cases"):
        reference(candidate, write_summary(tmp_path / "o", [row("a", 1.0)], digest="other"))


NAMES = ("answer_key", "decline_accuracy", "citation_correctness")


def found(head: dict[str, float], cases: int = 60) -> Comparison:
    policy = load_policy(GATES)
    policy = policy.model_copy(update={"metrics": {name: policy.metrics[name] for name in NAMES}})
    metrics = [metric for metric in make_metrics() if metric.name in NAMES]
    return compare(_records(dict.fromkeys(NAMES, 1.0), cases), _records(head, cases), metrics, policy)


def _records(scores: dict[str, float], cases: int) -> list[dict[str, Any]]:
    return [
        {
            **{"id": f"case-{n}", "trial": 0, "question": "?", "expected": ["x"], "tags": [], "status": "answered"},
            **{"answer": "x", "declined": False, "retrieved": [], "citations": [], "recorded": False, "cost": None},
            **{"scores": dict(scores), "labels": {}, "assertions": {}, "errors": {}},
        }
        for n in range(cases)
    ]


GOOD = dict.fromkeys(NAMES, 1.0)


def test_what_was_not_judged_fails_and_hides_what_follows_from_it() -> None:
    comparison = replace(found(GOOD, cases=19), reasons=("the canary failed on 'case-3': status 503",))
    (verdict,) = verdicts_of(comparison, "quality")
    assert not verdict.passed
    assert verdict.reason == "quality: the canary failed on 'case-3': status 503"


@pytest.mark.parametrize("head", [GOOD, GOOD | {"answer_key": 0.25}, GOOD | {"decline_accuracy": 0.0}])
@pytest.mark.parametrize("cases", [5, 60])
@pytest.mark.parametrize("reasons", [(), ("something was not asked",)])
def test_verdicts_pass_iff_the_comparison_does(head: dict[str, float], cases: int, reasons: tuple[str, ...]) -> None:
    comparison = replace(found(head, cases), reasons=reasons)
    verdicts = verdicts_of(comparison, "quality")
    assert verdicts
    assert all(one.passed for one in verdicts) == comparison.passed


RIGHT = [Row(id=f"q{n}", question="?", answers=("x",), doc_ids=("d",)) for n in range(20)]
DECLINED = [Row(id=f"u{n}", question="?", answers=(), doc_ids=()) for n in range(20)]


def faults(rows: list[Row], gates: Path = GATES) -> list[str]:
    with pytest.raises(ValidationErrors) as caught:
        require_rows(rows, gates)
    assert "data/eval.jsonl" in caught.value.message
    assert "when_asked" in str(caught.value.remedy)
    return list(caught.value.faults)


def test_a_set_with_enough_of_each_kind_passes() -> None:
    require_rows(RIGHT + DECLINED, GATES)


def test_a_set_says_which_fall_it_cannot_see() -> None:
    asked = [Row(id=f"q{n}", question="?", answers=("x",), doc_ids=("d",)) for n in range(59)]
    key, *others = detection([*asked, *DECLINED, *RIGHT[:2]], GATES)
    assert key == (
        "if one answer in five changes, a fall of answer_key below 0.21 can't be seen with 81 rows; 324 rows see 0.10"
    )
    assert any("a fall of decline_accuracy below 0.42 can't be seen with 20 rows" in one for one in others)
    assert not detection(RIGHT[:5], GATES)


def test_without_rows_to_decline_the_metric_the_count_and_what_to_add_are_named() -> None:
    assert faults(RIGHT) == [
        "config/gates.yaml: comparison.metrics.decline_accuracy needs 20 rows without answers, which must be declined "
        "(answers: []); of 20 there are 0"
    ]


def test_every_gate_and_every_metric_that_decides_always_is_named_at_once() -> None:
    found = faults(RIGHT[:9] + DECLINED[:9])
    assert [fault.split(" needs ")[0] for fault in found] == [
        "config/gates.yaml: gate recall_at_5_floor",
        "config/gates.yaml: gate latency_p95_sane",
        "config/gates.yaml: comparison.metrics.answer_key",
        "config/gates.yaml: comparison.metrics.decline_accuracy",
        "config/gates.yaml: comparison.metrics.citation_correctness",
        "config/gates.yaml: comparison.metrics.mrr",
        "config/gates.yaml: comparison.metrics.ndcg_at_5",
    ]
    assert found[0].endswith("needs 20 rows that name the documents with the answer (doc_ids); of 18 there are 9")
