from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from sluice.release.manifest import Manifest
from sluice.release.report import write_report

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


def page_of(folder: Path, *, live: bool = False) -> Page:
    return Page(write_report(folder, live=live).read_text(encoding="utf-8"))


def test_a_whole_release_shows_everything_and_loads_nothing(make: Make) -> None:
    parent, _ = make(adapter=None)
    manifest, folder = make(parent=parent.id)
    (folder / "rehearsal.json").write_text(json.dumps(rehearsal()))
    stages = [{"stage": "train", "seconds": 171.0, "cached": False}, {"stage": "index", "seconds": 0.4, "cached": True}]
    (folder / "stages.json").write_text(json.dumps(stages))
    page = page_of(folder)
    for words in (manifest.id, parent.id, "Every gate and every canary step held", "41 requests, 0 failed",
                  "f1_holds", "canary_total_p95", "canary at 20 %", "unchanged, from the cache", "171.4",
                  "name words, size 64", "no answer"):  # fmt: skip
        assert words in page.text
    assert page.source.count("<svg ") == 4
    assert page.addresses == []
    assert not re.findall(r"url\((?!#)", page.source)
    assert "absent" not in re.sub(r"<style>.*?</style>", "", page.source, flags=re.DOTALL)
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
    assert page.source.count("<svg ") == 3, "there is no time to draw"


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
    assert "There are no cases in the release folder" in page.text
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
    assert attack in page.text


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
    text = page_of(folder).text
    assert "no answer" in text
    assert "TimeoutError" in text
    assert "(must decline)" in text
