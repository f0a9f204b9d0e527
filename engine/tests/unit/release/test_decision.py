"""A release asks what a pull request asked, of the same records, by the project's numbers, and gets the same answer."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from sluice.core.errors import SluiceError, ValidationErrors
from sluice.data.rows import Row
from sluice.evaluation.comparison import Comparison, compare
from sluice.evaluation.comparison_policy import load_policy
from sluice.evaluation.metric_batching import MetricBatcher
from sluice.evaluation.output import Output
from sluice.evaluation.registry import MetricResources, make_metrics
from sluice.evaluation.runner import run_cases
from sluice.evaluation.summary import summarise, write_results
from sluice.release.decision import decide_release
from sluice.release.gates import load_gates
from sluice.release.verdict import Verdict

GATES = Path(__file__).parents[4] / "config" / "gates.yaml"
FLOORS = {gate.name for gate in load_gates(GATES)}
# The policy names them; here nobody embeds.
NEVER_ASKED = [metric for metric in make_metrics(MetricResources(MetricBatcher(list))) if metric.resources]
ROWS = [
    *(Row(id=f"q{n}", question=f"What is {n}?", answers=(f"a {n}",), doc_ids=("right",)) for n in range(110)),
    *(Row(id=f"u{n}", question=f"What is not {n}?", answers=(), doc_ids=()) for n in range(40)),
]
Records = list[dict[str, Any]]


class Answers:
    """Right in everything, but for ids in `wrong`, `declines` and `invents`, and documents that come late."""

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
        (6, 6, {"comparison_mrr", "comparison_ndcg_at_5"}),  # out of sight, and recall is still above its floor
    ],
)
def test_a_search_that_ranks_worse_is_refused_though_its_recall_passes(
    tmp_path: Path, fallen: int, to: int, refusing: set[str]
) -> None:
    """Of 110 questions with one right document each, the documents of `fallen` are no longer first."""
    base, head = asked(), asked(late=fallen, rank=to)
    assert refused(release(tmp_path, base, head)).keys() == refusing
    assert pull_request(base, head).passed == (not refusing)


def test_worse_answers_are_refused_in_the_words_of_a_comparison(tmp_path: Path) -> None:
    found = refused(release(tmp_path, asked(), asked(wrong=30, invents=20)))
    assert found.keys() == {"comparison_answer_key", "comparison_decline_accuracy"}
    said = found["comparison_answer_key"]
    assert said.startswith("gate comparison_answer_key: answer_key is 0.667 against 1.000 of champion, −0.333, ")
    assert said.endswith("over 150 cases; limit: not worse by 0.020 or more at confidence 0.99")


def test_a_verdict_names_the_cases_that_broke(tmp_path: Path) -> None:
    verdicts = release(tmp_path, asked(), asked(wrong=30))
    (found,) = (verdict for verdict in verdicts if verdict.gate == "comparison_answer_key")
    assert set(found.cases) <= {f"q{n}" for n in range(30)}
    assert len(found.cases) == 10
    assert (found.figure, found.reference, found.samples) == (pytest.approx(120 / 150), 1.0, 150)


def test_too_few_cases_refuse_as_they_do_on_a_pull_request(tmp_path: Path) -> None:
    rows = ROWS[:130]
    base = [record for record in asked() if record["id"] in {row.id for row in rows}]
    for name in ("candidate", "champion"):
        written(tmp_path / name, base, rows)
    assert refused(decide_release(GATES, tmp_path / "candidate", tmp_path / "champion")) == {}
    fewer = ROWS[:129]
    base = base[:129]
    for name in ("candidate", "champion"):
        written(tmp_path / name, base, fewer)
    found = refused(decide_release(GATES, tmp_path / "candidate", tmp_path / "champion"))
    assert list(found) == ["comparison_decline_accuracy"]
    assert "too few cases (19)" in found["comparison_decline_accuracy"]
    assert pull_request(base, base).verdict == "too few cases"


def spoiled(records: Records, case: int, **changed: Any) -> Records:
    found = copy.deepcopy(records)
    found[case] |= changed
    return found


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"errors": {"f1": "boom"}}, "comparison: f1 crashed on 1 of head: q3"),
        ({"status": "failed"}, "comparison: 1 failed in head: q3"),
        ({"status": "not_evaluated"}, "comparison: 1 not evaluated in head: q3"),
        ({"question": "Another?"}, "comparison: 1 case with another question or expected answer: q3"),
        ({"id": "q4"}, "comparison: 1 case in head more than once for the same trial: q4"),
    ],
)
def test_silence_is_refused(tmp_path: Path, changed: dict[str, Any], says: str) -> None:
    base = asked()
    head = spoiled(base, 3, **changed)
    found = release(tmp_path, base, head)
    assert [one.passed for one in found if one.gate == "comparison"] == [False] * len(pull_request(base, head).reasons)
    assert says in [one.reason for one in found if not one.passed]


def test_a_metric_that_only_the_candidate_was_measured_by_is_refused(tmp_path: Path) -> None:
    head = asked()
    base = copy.deepcopy(head)
    for record in base:
        del record["scores"]["contains_answer"], record["scores"]["mrr"]
    assert "mrr was measured in head only" in " ".join(refused(release(tmp_path, base, head)).values())


def test_a_metric_of_the_policy_that_the_evaluation_does_not_have_is_an_error(tmp_path: Path) -> None:
    records = asked()
    for name in ("candidate", "champion"):
        (tmp_path / name).mkdir()
        known = [metric for metric in [*make_metrics(), *NEVER_ASKED] if metric.name != "mrr"]
        write_results(tmp_path / name, summarise(ROWS, records, known), records)
    with pytest.raises(ValidationErrors, match=r"comparison\.metrics\.mrr: no such metric"):
        decide_release(GATES, tmp_path / "candidate", tmp_path / "champion")


def test_a_champion_that_was_asked_other_cases_is_no_reference(tmp_path: Path) -> None:
    candidate = written(tmp_path / "candidate", asked())
    champion = written(tmp_path / "champion", asked(ROWS[1:]), ROWS[1:])
    with pytest.raises(SluiceError, match="asked other cases"):
        decide_release(GATES, candidate, champion)


SIDES = asked(), asked(wrong=110, invents=40, late=110, rank=3)


@st.composite
def results(draw: st.DrawFn) -> tuple[Records, Records]:
    """Champion and candidate. A share of the champion's answers is right; of the candidate's, those of a share of the
    cases are drawn again; one case of the candidate may be spoiled."""
    rng = draw(st.randoms(use_true_random=False))
    shares = draw(st.tuples(st.floats(0, 1), st.floats(0, 1)))
    touched = draw(st.sampled_from([0.02, 0.1, 1.0]))
    base = [SIDES[rng.random() > shares[0]][n] for n in range(len(ROWS))]
    head = [SIDES[rng.random() > shares[1]][n] if rng.random() < touched else base[n] for n in range(len(ROWS))]
    place = rng.randrange(len(head))
    spoil = draw(st.sampled_from(["", "", "", "", "failed", "not_evaluated", "crashed", "lost"]))
    if spoil == "lost":
        del head[place]
    elif spoil:
        head[place] = head[place] | ({"errors": {"f1": "boom"}} if spoil == "crashed" else {"status": spoil})
    return base, head


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(both=results())
def test_who_is_not_worse_on_a_pull_request_is_not_refused_for_a_difference_at_release(
    tmp_path: Path, both: tuple[Records, Records]
) -> None:
    base, head = both
    quick = tmp_path / "gates.yaml"
    quick.write_text(GATES.read_text().replace("resamples: 10000 ", "resamples: 4000 "))
    before = pull_request(base, head, quick)
    verdicts = release(tmp_path, base, head, quick)
    event(before.verdict)
    compared = [verdict for verdict in verdicts if verdict.gate not in FLOORS]
    assert compared
    assert all(verdict.passed for verdict in compared) == before.passed
    assert {verdict.gate for verdict in compared if verdict.figure is not None and not verdict.passed} == {
        f"comparison_{metric.name}" for metric in before.deciding if metric.verdict == "worse"
    }
    if before.passed:
        against_a_champion = [verdict for verdict in verdicts if verdict.reference is not None]
        assert all(verdict.passed for verdict in against_a_champion)
