import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from sluice.cli.deployment import canary_quality
from sluice.core.atomic_files import read_json
from sluice.core.errors import GateFailed, SluiceError
from sluice.core.processes import free_port
from sluice.data.rows import Row, write_rows
from sluice.evaluation.asked_rows import asking_order
from sluice.evaluation.comparison_policy import load_policy
from sluice.evaluation.comparison_result import Comparison
from sluice.evaluation.registry import METRICS
from sluice.evaluation.reports.phrasing import in_the_terminal
from sluice.rollout.canary_quality import ReleaseClient, compare_served, sample
from starter_files import ROOT
from support.rollout.canaries import CASES, compared_releases
from support.serving.fakes import DECLINE

pytestmark = pytest.mark.real
RIGHT = {"answer_key", "decline_accuracy", "citation_correctness"}


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with compared_releases(tmp_path_factory.mktemp("services")) as urls:
        yield urls


def compared(stable: str, canary: str, rows: list[Row] = CASES) -> Comparison:
    policy = load_policy(ROOT / "config" / "gates.yaml")
    return compare_served(
        ReleaseClient(stable, DECLINE, 240), ReleaseClient(canary, DECLINE, 240), rows, policy, concurrency=4
    )


def test_a_canary_that_answers_alike_passes(services: dict[str, str]) -> None:
    found = compared(services["stable"], services["good"])
    assert (found.verdict, found.compared, found.identical) == ("no difference seen", 40, 40)
    assert {metric.judgement.base for metric in found.deciding if metric.name in RIGHT} == {1.0}


def test_a_canary_that_answers_worse_fails_with_the_metrics(services: dict[str, str]) -> None:
    found = compared(services["stable"], services["worse"])
    assert not found.passed
    assert {metric.name for metric in found.deciding if metric.verdict == "worse"} == RIGHT - {"decline_accuracy"}
    assert (found.asked, found.compared, found.planned) == (20, 20, 80)
    assert found.stopped == "Stopped after 20 of 80 cases: worse is decided (answer_key, citation_correctness)."


def test_the_first_question_that_the_canary_fails_ends_it(services: dict[str, str]) -> None:
    found = compared(services["stable"], f"http://127.0.0.1:{free_port()}")
    assert found.verdict == "not evaluated"
    # Four are asked side by side, and any of them may be refused first.
    first = "|".join(row.id for row in asking_order(CASES)[:4])
    refused = rf"the canary failed on '({first})': http://127\.0\.0\.1:\d+: no answer: ConnectionRefusedError"
    assert re.search(refused, found.reasons[0]), found.reasons
    assert len(found.named["not_evaluated"]["head"]) > 70, "the others were asked all the same"


def test_without_stable_nothing_is_compared(services: dict[str, str]) -> None:
    words = r"nobody answered for stable: (\d+) of \1 questions ended with .*ConnectionRefusedError"
    with pytest.raises(SluiceError, match=words) as caught:
        compared(f"http://127.0.0.1:{free_port()}", services["good"])
    assert "--over-dead-stable" in str(caught.value)


@pytest.mark.parametrize("odd", [False, True], ids=["streamed", "whole"])
def test_a_canary_that_fails_one_question_is_no_pass(services: dict[str, str], *, odd: bool) -> None:
    """Every second question in the order of asking is a stream; this one is among those that are asked first."""
    rows = [Row(id=f"unknown-{n}", question="Not in the script?", answers=("x",), doc_ids=("a",)) for n in range(99)]
    places = {row.id: asking_order([*CASES, row]).index(row) for row in rows}
    unknown = next(row for row in rows if places[row.id] < 20 and places[row.id] % 2 == odd)
    found = compared(services["stable"], services["good"], [*CASES, unknown])
    assert not found.passed
    assert found.reasons == (f"the canary failed on '{unknown.id}': {services['good']}: status 500",)


def test_a_sample_has_as_many_to_decline_as_others() -> None:
    rows = [Row(id=f"{n}", question="?", answers=("x",) if n % 4 else (), doc_ids=()) for n in range(150)]
    chosen = sample(rows, 56)
    assert [row.answerable for row in chosen].count(False) == 28
    assert [int(row.id) for row in chosen] == sorted({int(row.id) for row in chosen})
    assert [row.answerable for row in sample(rows, 120)].count(False) == 38, "all there are"
    assert sample(rows, 0) == sample(rows, 150) == sample(rows, 999) == rows
    answerable = [row for row in rows if row.answerable]
    assert len(sample(answerable, 10)) == 10


@pytest.fixture
def release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "release"
    for name in ("config", "judging"):
        (folder / name).mkdir(parents=True)
    shutil.copy(ROOT / "config" / "service.yaml", folder / "config")
    shutil.copy(ROOT / "config" / "gates.yaml", folder / "judging")
    write_rows(folder / "judging" / "eval.jsonl", CASES)
    monkeypatch.chdir(tmp_path)
    return folder


def asked_by_the_command(services: dict[str, str], canary: str, release: Path) -> None:
    canary_quality(
        services["stable"], services[canary], cases=0, concurrency=4, timeout=240, release=release, out=release / "out"
    )


def test_the_command_judges_by_what_the_release_brings(services: dict[str, str], release: Path) -> None:
    asked_by_the_command(services, "good", release)
    assert read_json(release / "out")["comparison"]["counts"]["planned"] == len(CASES)
    with pytest.raises(GateFailed, match="worse"):
        asked_by_the_command(services, "worse", release)
    write_rows(release / "judging" / "eval.jsonl", CASES[:30])
    with pytest.raises(GateFailed, match="too few cases"):
        asked_by_the_command(services, "good", release)


def test_every_metric_that_decides_is_compared_or_named_as_left_out(services: dict[str, str]) -> None:
    found = compared(services["stable"], services["good"])
    policy = load_policy(ROOT / "config" / "gates.yaml")
    deciding = {name for name, one in policy.metrics.items() if one.decides != "never"} - {"answered", "consistency"}
    left_out = {text.split(" needs ")[0] for text in found.left_out}
    of_extras = {"groundedness", "same_language"} & METRICS.keys()
    assert left_out == {"recall_at_5", "mrr", "ndcg_at_5"} | of_extras
    assert found.as_dict()["left_out"] == list(found.left_out)
    assert "~ not compared here: mrr needs what the search found" in in_the_terminal(found)
    asked = {name for name, metric in METRICS.items() if metric.needs == "answer"}
    assert deciding == left_out | (deciding & asked)
