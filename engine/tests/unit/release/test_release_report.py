from __future__ import annotations

import json
import re
import shutil
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from sluice.release.manifest import Manifest
from sluice.release.release_report import write_report

Make = Callable[..., tuple[Manifest, Path]]


class Page(HTMLParser):
    """The page's visible text and the tags and addresses it uses."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.source, self.text, self.addresses, self.tags = source, "", [], set[str]()
        self._hidden = False
        self.feed(source)
        self.text = re.sub(r"\s+", " ", self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self._hidden = tag in ("script", "style")
        self.addresses += [value for name, value in attrs if name in ("src", "href") and value]

    def handle_endtag(self, _: str) -> None:
        self._hidden = False

    def handle_data(self, data: str) -> None:
        self.text += "" if self._hidden else f"{data} "


def verdict(**changed: Any) -> dict[str, Any]:
    fields = {"gate": "canary_total_p95", "metric": "total_p95_ms", "passed": True, "figure": 900.0, "limit": 2.0,
              "reference": 700.0, "samples": 12, "reason": "gate canary_total_p95: fine", "cases": []}  # fmt: skip
    return {**fields, **changed}


def rehearsal(**changed: Any) -> dict[str, Any]:
    canary, stable = {"total_p50_ms": 500.0, "total_p95_ms": 900.0}, {"total_p50_ms": 480.0, "total_p95_ms": 700.0}
    same = {"weight": 20, "verdict": "passed"}
    weighed = {**same, "index": 0, "kind": "setWeight", "started_s": 0.0, "seconds": 0.2, "reason": "", "gates": []}
    analysed = {**same, "index": 1, "kind": "analysis", "started_s": 0.2, "seconds": 14.0, "reason": "held"}
    fields = {
        "release": "r",
        "stable": "s",
        "time_scale": 0.1,
        "steps": [weighed, {**analysed, "gates": [verdict()], "metrics": {"canary": canary, "stable": stable}}],
        "weights": [[0, 20], [14.2, 100]],
        "traffic": {"requests": 41, "failed": 0, "failed_outside_canary": 0},
        "verdict": "passed",
        "reason": "",
    }
    return {**fields, **changed}


POLICY = """comparison:
  confidence: 0.99
  power: 0.8
  resamples: 2000
  seed: 1
  minimum_cases: 2
  slices: {minimum_cases: 20, at_most: 3}
  metrics:
    f1: {decides: always, smallest: 0.02}
"""


def data_of(page: Page) -> dict[str, Any]:
    """The cases, as the page's script reads them."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page.source, re.DOTALL)
    assert found
    data: dict[str, Any] = json.loads(found[1])
    return data


def judged_by(folder: Path, policy: str) -> None:
    """Only the report reads it here: what a changed file does to the release's id is another test's."""
    (folder / "judging" / "gates.yaml").write_text(policy)


def page_of(folder: Path, *, live: bool = False) -> Page:
    return Page(write_report(folder, live=live).read_text(encoding="utf-8"))


def test_a_whole_release_shows_everything_and_loads_nothing(make: Make) -> None:
    parent, _ = make(adapter=None)
    manifest, folder = make(parent=parent.id)
    (folder / "rehearsal.json").write_text(json.dumps(rehearsal()))
    stages = [{"stage": "train", "seconds": 171.0, "cached": False}, {"stage": "index", "seconds": 0.4, "cached": True}]
    (folder / "stages.json").write_text(json.dumps(stages))
    judged_by(folder, POLICY)
    page = page_of(folder)
    for words in (manifest.id, parent.id, "Every gate and every canary step held", "41 requests, 0 failed",
                  "latency_p95_ms 820 820 ms", "f1_holds", "canary_total_p95", "canary at 20 %",
                  "unchanged, from the cache", "171.4",
                  "name words, size 64", "champion", "this release",
                  "Not green: judge crashed on 3 of head"):  # fmt: skip
        assert words in page.text
    pictures = re.findall(r"<svg viewBox.*?</svg>", page.source, re.DOTALL)
    assert page.source.count('<div role="img"') == len(pictures) == 2
    for picture in pictures:
        assert ElementTree.fromstring(picture).tag == "{http://www.w3.org/2000/svg}svg"
        assert re.findall(r'(?:fill|stroke)="(?!var\(--|none")', picture) == [], "every colour comes from the page"
    assert "median 20 % canary 500 ms stable 480 ms" in page.text
    assert [one["status"] for one in data_of(page)["cases"]] == ["error"] * 3
    assert data_of(page)["sides"] == ["champion", "this release"]
    assert page.addresses == []
    assert not re.findall(r"url\((?!#)", page.source)
    assert 'class="absent"' not in page.source
    write_report(folder)
    assert page.source == (folder / "report.html").read_text(encoding="utf-8")


def test_a_comparison_of_answers_is_in_the_table_and_not_among_the_times(make: Make) -> None:
    _, folder = make()
    compared = {**rehearsal()["steps"][1], "weight": 0, "template": "quality"}
    compared["gates"] = [verdict(gate="quality_f1", metric="f1", reason="gate quality_f1: f1 is 0.5")]
    compared["metrics"] = {"canary": {"f1": 0.5}, "stable": {"f1": 0.5}}
    (folder / "rehearsal.json").write_text(json.dumps(rehearsal(steps=[compared])))
    page = page_of(folder)
    assert "canary at 0 %" in page.text
    assert "quality_f1" in page.text
    assert "No analysis measured a latency" in page.text


def test_the_champion_is_called_so(make: Make) -> None:
    _, folder = make()
    (folder / "rehearsal.json").write_text(json.dumps(rehearsal()))
    assert "Champion: every gate and every canary step held" in page_of(folder, live=True).text


def test_a_refused_release_says_why_and_what_is_missing_in_words(make: Make) -> None:
    passing, _ = make()
    failed = passing.gates[0].model_copy(
        update={"passed": False, "reason": "gate f1_holds: f1 is 0.1", "cases": ("q1",)}
    )
    _, folder = make(verdicts=[failed], adapter=None)
    page = page_of(folder)
    for words in ("Refused by the evaluation gates", "gate f1_holds: f1 is 0.1", "has not been rehearsed",
                  "There are no results of a champion", "no adapter: the base model answers",
                  "The stage times were not written yet"):  # fmt: skip
        assert words in page.text


def test_a_release_stopped_in_the_canary_says_why(make: Make) -> None:
    _, folder = make()
    slow = verdict(passed=False, reason="gate canary_total_p95: total_p95_ms is 3000")
    stopped = rehearsal(verdict="failed", reason="step 1: canary_total_p95 failed")
    stopped["steps"][1] |= {"verdict": "failed", "gates": [slow]}
    (folder / "rehearsal.json").write_text(json.dumps(stopped))
    page = page_of(folder)
    assert "Stopped in the canary" in page.text
    assert "step 1: canary_total_p95 failed" in page.text
    assert page.text.index("total_p95_ms is 3000") < page.text.index("gate f1_holds: fine")


def test_a_release_without_verdicts_is_not_called_good(make: Make) -> None:
    _, folder = make(verdicts=[])
    assert "no gate was decided, so nothing passes" in page_of(folder).text
    assert "Champion without a verdict" in page_of(folder, live=True).text


@pytest.mark.parametrize(
    "broken", ["rehearsal.json", "stages.json", "evaluation/cases.jsonl", "evaluation/summary.json"]
)
def test_a_file_that_cannot_be_read_is_a_note_and_no_crash(make: Make, broken: str) -> None:
    _, folder = make()
    (folder / broken).write_text("{not json")
    assert f"{broken}" in page_of(folder).text


def test_only_a_manifest_is_needed(make: Make) -> None:
    _, folder = make()
    for path in [*(folder / "evaluation").iterdir(), folder / "training.json"]:
        path.unlink()
    page = page_of(folder)
    assert "There is no evaluation in the release folder" in page.text
    assert "There are no cases." in page.text
    assert "The training record holds no loss" in page.text


def test_texts_of_model_and_data_cannot_become_markup(make: Make) -> None:
    _, folder = make()
    path = folder / "evaluation/cases.jsonl"
    attack = '<script>alert(1)</script><img src="http://x" onerror=alert(1)>'
    row = {"id": attack, "question": attack, "expected": [attack], "tags": [attack], "answer": attack,
           "scores": {"f1": 0.0}, "errors": {"f1": attack}}  # fmt: skip
    path.write_text(json.dumps(row) + "\n")
    page = page_of(folder)
    assert "img" not in page.tags
    assert page.source.count("<script>") == 1
    assert attack not in page.source
    (case,) = data_of(page)["cases"]
    assert (case["id"], case["question"], case["expected"], case["tags"]) == (attack, attack, [attack], [attack])
    (trial,) = case["head"]
    assert (trial["answer"], trial["errors"]) == (attack, {"f1": attack})


def test_a_case_that_crashed_has_no_answer_and_shows_its_error(make: Make) -> None:
    _, folder = make()
    row = {
        "id": "q",
        "question": "?",
        "expected": [],
        "tags": [],
        "answer": None,
        "scores": {},
        "errors": {"f1": "TimeoutError"},
    }
    (folder / "evaluation/cases.jsonl").write_text(json.dumps(row) + "\n")
    (case,) = data_of(page_of(folder))["cases"]
    (trial,) = case["head"]
    assert (trial["answer"], trial["errors"], case["expected"]) == (None, {"f1": "TimeoutError"}, [])


def test_the_comparison_is_made_of_what_the_release_brings(make: Make) -> None:
    """The same words, the same table and the same list of cases as on a pull request."""
    parent, _ = make(adapter=None)
    _, folder = make(parent=parent.id)
    judged_by(folder, POLICY)
    rows = [{**json.loads(line), "errors": {}} for line in _lines(folder / "evaluation" / "cases.jsonl")]
    for row in rows:
        row["scores"] = {"f1": 1.0}
    worse = [row | {"answer": "no", "scores": {"f1": 0.0}} for row in rows[:1]] + rows[1:]
    for name, written in (("champion_cases.jsonl", rows), ("cases.jsonl", worse)):
        (folder / "evaluation" / name).write_text("".join(json.dumps(row) + "\n" for row in written))
    page = page_of(folder)
    assert "No deciding metric differs; 1 broken and 0 fixed of 3 cases" in page.text
    assert [(one["id"], one["status"], one["broken"]) for one in data_of(page)["cases"]] == [
        ("q0", "broken", ["f1"]),
        ("q1", "same", []),
        ("q2", "same", []),
    ]


def test_a_metric_that_passed_is_said_once(make: Make) -> None:
    parent, _ = make(adapter=None)
    manifest, _ = make()
    passed = manifest.gates[0].model_copy(update={"gate": "comparison_f1", "reason": "gate comparison_f1: fine"})
    failed = passed.model_copy(
        update={"gate": "comparison_mrr", "passed": False, "reason": "gate comparison_mrr: it fell"}
    )
    _, folder = make(parent=parent.id, verdicts=[passed, failed])
    judged_by(folder, POLICY)
    page = page_of(folder)
    assert "comparison_f1" not in page.text, "the table of metrics has it"
    assert "gate comparison_mrr: it fell" in page.text
    assert "Refused by the comparison with the champion" in page.text
    shutil.rmtree(folder / "judging")
    page = page_of(folder)
    assert "gate comparison_f1: fine" in page.text, "without a table of metrics it is not left out"
    assert "judging/gates.yaml" in page.text


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines()
