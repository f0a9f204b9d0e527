"""The report files of a comparison; report.html in a real browser, whose screenshots are left in build/browser/."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sluice.evaluation.comparison_result import Comparison
from sluice.evaluation.reports.comparison_page import COMMENT, JSON, PAGE, page, write_reports
from sluice.evaluation.reports.phrasing import in_the_terminal
from unit.evaluation.asking import ask, changed
from unit.evaluation.reports.conftest import Comparing, Sides
from unit.serving.browser import Browser

SHOTS = Path(__file__).parents[5] / "build" / "browser"


def test_three_files_in_one_folder(
    worse: Comparison, sides: Sides, prompts: list[dict[str, Any]], tmp_path: Path
) -> None:
    write_reports(tmp_path / "out", worse, *sides, prompts)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {COMMENT, PAGE, JSON}
    document = json.loads((tmp_path / "out" / JSON).read_text())
    assert (document["schema"], document["verdict"], document["passed"]) == (1, "worse", False)
    assert document["base"]["commit"] == "1" * 40
    assert [prompt["name"] for prompt in document["prompts"]] == ["answer"]
    assert document["cases"][0].keys() == {"id", "status", "tags", "fixed", "broken", "changes"}


def test_the_page_allows_its_own_script_and_nothing_else(hostile: Comparison, sides: Sides) -> None:
    html = page(hostile, *sides)
    html.encode()
    assert re.search(r"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-[\w+/=]{44}'", html)
    assert html.count("<script") == html.count("</script>") == 2
    assert "<img" not in html
    assert "\u202e" not in html
    script = html.rsplit("<script>", 1)[1]
    assert not re.search(r"innerHTML|insertAdjacent|document\.write|\beval\b", script)


@pytest.fixture
def browser(program: str) -> Iterator[Browser]:
    with Browser(program) as browser:
        yield browser
        assert not browser.problems
        assert {url.partition(":")[0] for url in browser.asked} == {"file"}


def shown(browser: Browser) -> str:
    return str(browser.js("document.getElementById('shown').textContent"))


def first(browser: Browser, selector: str) -> str:
    return str(browser.js(f"document.querySelector({selector!r})?.textContent ?? ''"))


@pytest.mark.real
def test_cases_are_found_and_opened_by_keyboard(
    browser: Browser, comparing: Comparing, sides: Sides, prompts: list[dict[str, Any]], tmp_path: Path
) -> None:
    base = changed(ask(seed=1), "q100", answer="Chunks share 64 tokens, mostly.", passages=["They share 64 tokens."])
    base = changed(base, "q100", scores={"f1": 1.0}, retrieved=["chunking"], citations=["chunking"])
    head = changed(base, "q100", answer="Chunks share 32 tokens <b>.", scores={"f1": 0.0})
    head = changed(head, "q101", status="not_evaluated", answer=None, scores={}, assertions={}, errors={"replay": ""})
    write_reports(tmp_path, comparing(base, head), *sides, prompts)
    for dark in (False, True):
        browser.look(width=1100, height=900, dark=dark)
        browser.open((tmp_path / PAGE).as_uri())
        browser.wait("document.getElementById('shown').textContent === '150 of 150 cases'")
        browser.shoot(SHOTS / f"comparison-{'dark' if dark else 'light'}.png")
    assert browser.js("document.querySelectorAll('#cases > li').length") == 100
    assert first(browser, "#cases code") == "q100"
    assert first(browser, "strong").startswith("! Not evaluated")

    # `/` goes to the search; what is typed finds the case by its answer.
    browser.js("document.activeElement.blur()")
    browser.call("Input.dispatchKeyEvent", type="keyDown", key="/", text="/")
    browser.call("Input.dispatchKeyEvent", type="keyUp", key="/")
    assert browser.js("document.activeElement.id") == "words"
    browser.type("SHARE 64 tok")
    browser.wait("document.getElementById('shown').textContent === '1 of 150 cases'")
    browser.js("document.querySelector('#cases summary').focus()")
    browser.press("Enter")
    browser.wait("document.querySelector('#cases .body') !== null")
    assert [first(browser, f".sides > :nth-child({place}) {tag}") for place, tag in ((1, "del"), (2, "ins"))] == [
        "64",
        "32",
    ]
    assert "<b>" in first(browser, ".sides > :nth-child(2) .text")
    browser.js("document.querySelector('.body details summary').focus()")
    browser.press("Enter")
    browser.wait("document.querySelector('.body details').open")
    assert first(browser, ".body blockquote") == "They share 64 tokens."
    assert first(browser, ".body summary") == "base: 1 passages, cited: chunking"
    browser.shoot(SHOTS / "comparison-case.png")
    browser.js("document.getElementById('words').focus()")
    browser.press("Escape")
    browser.wait("document.getElementById('shown').textContent === '150 of 150 cases'")

    def choose(name: str, value: str) -> str:
        browser.js(
            f"(() => {{ const s = document.getElementById({name!r}); s.value = {value!r};"
            " s.dispatchEvent(new Event('change')); })()"
        )
        return shown(browser)

    assert choose("status", "not evaluated") == "1 of 150 cases"
    assert first(browser, "#cases code") == "q101"
    assert choose("status", "") == "150 of 150 cases"
    assert choose("tag", "unanswerable") == "40 of 150 cases"
    assert choose("tag", "") == "150 of 150 cases"
    assert choose("metric", "f1") == "1 of 150 cases"
    browser.look(width=420, height=800)
    assert browser.js("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.real
def test_foreign_text_runs_nothing(browser: Browser, hostile: Comparison, sides: Sides, tmp_path: Path) -> None:
    (tmp_path / PAGE).write_text(page(hostile, *sides))
    browser.open((tmp_path / PAGE).as_uri())
    browser.js("for (const one of document.querySelectorAll('#cases details')) one.open = true; null")
    browser.wait("document.querySelectorAll('#cases .body').length === 100")
    assert browser.js("document.querySelectorAll('#cases img, #cases a, #cases script, #cases b').length") == 0
    assert "<script>alert(1)</script>" in first(browser, "#cases .sides")


WHY = "Stopped after 34 of 270 cases: worse is decided (f1)."


def test_every_report_says_why_no_more_was_asked_and_warns(worse: Comparison, sides: Sides, tmp_path: Path) -> None:
    stopped = replace(worse, asked=34, planned=270, stopped=WHY, warnings=("Warning: gate floor: f1 is 0.1",))
    for comparison, times in ((stopped, 1), (worse, 0)):
        write_reports(tmp_path, comparison, *sides)
        texts = [(tmp_path / name).read_text() for name in (COMMENT, PAGE)]
        for said in ("Stopped after", "Warning: gate floor: f1 is 0.1"):
            assert [text.count(said) for text in (*texts, in_the_terminal(comparison))] == [times] * 3
        document = json.loads((tmp_path / JSON).read_text())
        assert document["stopped"] == comparison.stopped
        assert (document["counts"]["asked"], document["counts"]["planned"]) == (comparison.asked, comparison.planned)
