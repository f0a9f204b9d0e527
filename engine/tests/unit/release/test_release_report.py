import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

from bs4 import BeautifulSoup

from sluice.core.closures import Code
from sluice.core.workspace import Workspace
from sluice.release.manifest import Images
from sluice.release.release_report import markdown, write_report
from unit.release.conftest import FLOOR, Make, write_evaluation
from unit.release.conftest import verdict as judged
from unit.template.conftest import edit


class Page:
    """The page's visible text and the tags and addresses it uses."""

    def __init__(self, source: str) -> None:
        self.source = source
        page = BeautifulSoup(source, "html.parser")
        self.tags = {tag.name for tag in page.find_all()}
        self.addresses = [tag[name] for name in ("src", "href") for tag in page.find_all(attrs={name: True})]
        for hidden in page(["script", "style"]):
            hidden.decompose()
        self.text = " ".join(page.get_text(" ").split())


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


MISSED = FLOOR.replace("limit: 0.1", "limit: 0.9")
POLICY = f"""{MISSED}comparison:
  confidence: 0.99
  power: 0.8
  resamples: 2000
  seed: 1
  minimum_cases: 2
  slices: {{minimum_cases: 20, at_most: 3}}
  metrics:
    f1: {{decides: always, smallest: 0.02}}
"""


def data_of(page: Page) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page.source, re.DOTALL)
    assert found
    data: dict[str, Any] = json.loads(found[1])
    return data


def page_of(folder: Path, *, live: bool = False) -> Page:
    return Page(write_report(folder, live=live).read_text(encoding="utf-8"))


def test_a_whole_release_shows_everything_and_loads_nothing(make: Make) -> None:
    parent, _ = make(adapter=None)
    manifest, folder = make(parent=parent.id)
    (folder / "rehearsal.json").write_text(json.dumps(rehearsal()))
    stages = [
        {"stage": "train", "seconds": 171.0, "cached": False, "note": "left out"},
        {"stage": "index", "seconds": 0.4, "cached": True},
    ]
    (folder / "stages.json").write_text(json.dumps(stages))
    (folder / "judging" / "gates.yaml").write_text(POLICY)
    page = page_of(folder)
    for words in (manifest.id, parent.id, "Every gate and every canary step held", "41 requests, 0 failed",
                  "latency_p95_ms 820 820 ms", "f1_holds", "canary_total_p95", "canary at 20 %",
                  "unchanged, from the cache", "171.4", "train left out",
                  "name words, size 64", "champion", "this release",
                  "Warning: gate f1_floor: f1 is 0.5; limit: at least 0.9; worst cases: q0",
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


def test_a_refused_release_says_why_and_what_is_missing_in_words(make: Make) -> None:
    failed = judged(passed=False, reason="gate f1_holds: f1 is 0.1", cases=("q1",))
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


def test_only_a_manifest_is_needed(make: Make) -> None:
    _, folder = make()
    for path in [*(folder / "evaluation").iterdir(), folder / "training.json"]:
        path.unlink()
    page = page_of(folder)
    assert "There is no evaluation in the release folder" in page.text
    assert "There are no cases." in page.text
    assert "The training record holds no loss" in page.text


def test_a_reason_with_the_name_of_a_case_cannot_become_markup(make: Make) -> None:
    """Those of the cases themselves are of the page of a comparison: evaluation/reports/test_reports.py."""
    attack = '<script>alert(1)</script><img src="http://x" onerror=alert(1)>'
    page = page_of(make(verdicts=[judged(passed=False, reason=attack, cases=(attack,))])[1])
    assert page.text.count(attack) == 2
    assert "img" not in page.tags
    assert page.source.count("<script>") == 1


def parts(text: str) -> list[tuple[str, ...]]:
    """The rows of the table of parts."""
    _, _, table = text.partition("| part | before | after |\n|---|---|---|\n")
    return [tuple(line.strip("| ").split(" | ")) for line in table.partition("\n\n")[0].splitlines()]


def texts(text: str) -> list[str]:
    return re.findall(r"(?m)^### (.+)$", text)


def test_every_part_that_differs_is_named_and_nothing_else(workspace: Workspace, make: Make) -> None:
    before = make(adapter=None)
    edit(workspace.prompts / "answer.prompt.yml", "{{passages}}", "Read: {{passages}}")
    edit(workspace.config / "service.yaml", "does not say", "is silent")
    write_evaluation(workspace.build / "evaluation", f1=0.75)
    images = Images("ghcr.io/octo/app@sha256:" + "a" * 64)
    code = Code({"pyproject.toml": workspace.root / "pyproject.toml"})
    after = make(parent=before[0].id, data_digest="f" * 32, images=images, code=code)
    text = markdown(before, after)
    names = ["prompt answer", "data", "config/service.yaml", "adapter", "code", "image"]
    assert [name for name, _, _ in parts(text)] == names
    assert after[0].adapter
    assert ("adapter", "–", f"`{after[0].adapter.sha256[:12]}`") in parts(text)
    assert texts(text) == ["prompts/answer.prompt.yml", "config/service.yaml"]
    assert f"Compared with {before[0].id}." in text
    assert "| f1 | 0.5 | 0.75 | +0.25 |" in text
    assert "| judge | – | – |  |" in text
    assert '-    content: "{{passages}} {{question}}"\n+    content: "Read: {{passages}} {{question}}"' in text
    assert "-decline: The handbook does not say.\n+decline: The handbook is silent." in text


def test_the_first_release_is_shown_as_it_is(make: Make, workspace: Workspace) -> None:
    (workspace.config / "gates.yaml").write_text(MISSED)
    text = markdown(None, make())
    assert "\n`Warning: gate f1_floor: f1 is 0.5; limit: at least 0.9; worst cases: q0`\n\n## Metrics" in text
    assert "The first release" in text
    assert "| f1 | 0.5 |" in text
    assert "| prompt answer | – |" in text


def test_what_a_prompt_holds_stays_inside_its_fence(make: Make, workspace: Workspace) -> None:
    before = make()
    edit(
        workspace.prompts / "answer.prompt.yml",
        "description: Answers",
        "description: '```` # Owned` @all <b>'\n# Answers",
    )
    text = markdown(before, make())
    fence = text[text.index("### prompts/answer.prompt.yml") :].splitlines()[2]
    assert fence == "`````diff"
    assert text.count("`````") == 2


def test_a_reason_of_a_gate_stays_inside_its_cell(make: Make) -> None:
    text = markdown(None, make(verdicts=[judged(reason="a | b\n# c `d`")]))
    assert "| f1_holds | passed | `a ¦ b # c 'd'` |" in text


def test_texts_that_are_too_long_are_cut(make: Make, workspace: Workspace) -> None:
    before = make()
    for number in range(60):
        (workspace.config / f"more{number}.yaml").write_text("key: |\n" + "  a line of settings\n" * 300)
    text = markdown(before, make())
    assert len(text) < 110_000
    assert "\n…\n" in text
    assert "Further texts do not fit here" in text
