"""The page of the prompt lab in a real browser, over the served lab with its scripted model."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sluice.core.workspace import Workspace
from sluice.data.rows import Row, write_rows
from support.serving.process import Service
from unit.extras.prompt_lab.lab_service import BRIEF, REPLIES, keys_in_order
from unit.serving.browser import Browser

pytestmark = pytest.mark.real
SHOTS = Path(__file__).parents[5] / "build" / "browser"
ROWS = "document.querySelectorAll('#rows tbody tr').length"
VERDICT = "document.querySelector('#verdict strong')"
FAULT = "document.getElementById('fault').textContent"
MANY = 40  # questions: enough for a verdict


@pytest.fixture
def path(workspace: Workspace) -> Path:
    return workspace.prompts / "answer.prompt.yml"


@pytest.fixture
def gates(workspace: Workspace) -> Path:
    folder = workspace.root.parent / "gates"
    folder.mkdir()
    return folder


@pytest.fixture
def service(workspace: Workspace, gates: Path) -> Iterator[Service]:  # noqa: ARG001 - the folder is there before
    running = Service(f"{str(workspace.root)!r}", of="unit.extras.prompt_lab.lab_service")
    yield running
    running.stop()


@pytest.fixture
def browser(program: str) -> Iterator[Browser]:
    with Browser(program) as browser:
        yield browser


def opened(browser: Browser, service: Service) -> None:
    browser.open(service.url + "/try")
    browser.wait("document.getElementById('text').value !== '' && document.activeElement.id === 'text'")
    assert browser.js("scrollY") == 0  # the chat, which may be below, has not taken the focus


def write_before(browser: Browser, place: str, words: str) -> None:
    browser.js("document.getElementById('text').focus()")
    at = browser.js(f"document.getElementById('text').value.indexOf({place!r})")
    assert at > 0
    browser.js(f"document.getElementById('text').setSelectionRange({at}, {at})")
    browser.type(words)


def press(browser: Browser, button: str) -> None:
    browser.js(f"document.getElementById({button!r}).focus()")
    browser.press("Enter")


def texts(browser: Browser, selector: str) -> list[str]:
    found: list[str] = browser.js(f"[...document.querySelectorAll({selector!r})].map(one => one.textContent)")
    return found


def test_an_edit_is_compared_row_by_row_and_then_kept(
    browser: Browser, service: Service, workspace: Workspace, path: Path, gates: Path
) -> None:
    before, files = path.read_bytes(), sorted(path.parent.iterdir())
    edited = before.replace(b"Answer the question", f"{BRIEF} Answer the question".encode(), 1)
    browser.look(width=1280, height=900)
    opened(browser, service)
    write_before(browser, "Answer the question", f"{BRIEF} ")
    assert browser.js("document.getElementById('text').value").encode() == edited
    assert path.read_bytes() == before

    press(browser, "compare")
    browser.wait("document.getElementById('result').checkVisibility()")
    for number, key in enumerate(keys_in_order(workspace)):
        assert browser.js(ROWS) == number
        assert browser.js(VERDICT) is None
        assert path.read_bytes() == before
        (gates / key).touch()
        browser.wait(f"{ROWS} === {number + 1}")
    browser.wait(f"{VERDICT} !== null")
    assert texts(browser, "#progress") == ["4 answered: 0 better, 4 worse"]
    assert texts(browser, "#verdict strong") == ["Too few cases"]
    assert "4 of 4 questions." in texts(browser, "#verdict")[0]
    assert texts(browser, "#rows td:nth-of-type(3)") == ["Worse"] * 4
    assert " chunks share 64 tokens." in texts(browser, "#rows del")

    press(browser, "keep")
    browser.wait("document.activeElement.id === 'kept-title'")
    assert path.read_bytes() == edited
    assert sorted(path.parent.iterdir()) == files
    assert "+ " in texts(browser, "#diff")[0]
    assert len(texts(browser, "#commands")[0].splitlines()) == 2
    assert browser.js("document.getElementById('diff').checkVisibility()")
    assert browser.problems == []
    assert {url for url in browser.asked if not url.startswith(("data:", service.url))} == set()


def test_a_server_that_is_gone_is_named_and_the_edit_stays(
    browser: Browser, service: Service, workspace: Workspace, gates: Path
) -> None:
    opened(browser, service)
    write_before(browser, "Answer the question", f"{BRIEF} ")
    (gates / keys_in_order(workspace)[0]).touch()
    press(browser, "compare")
    browser.wait(f"{ROWS} === 1")
    service.stop()
    browser.wait(f"{FAULT}.includes('Start it again with `make try`')")
    assert texts(browser, "#verdict") == ["Stopped before the verdict."]
    assert not browser.js("document.getElementById('stop').checkVisibility()")
    assert BRIEF in browser.js("document.getElementById('text').value")
    browser.js("document.getElementById('fault').textContent = ''")
    press(browser, "keep")
    browser.wait(f"{FAULT}.includes('Start it again with `make try`')")
    assert not browser.js("document.getElementById('kept').checkVisibility()")


@pytest.mark.parametrize(("width", "dark"), [(1280, True), (360, False)])
def test_axe_finds_nothing_and_the_page_fits(
    browser: Browser,
    workspace: Workspace,
    rows: list[Row],
    gates: Path,
    request: pytest.FixtureRequest,
    width: int,
    dark: bool,
) -> None:
    asked = [rows[number % len(rows)] for number in range(MANY)]
    numbered = [
        row.model_copy(update={"id": f"q{number}", "question": f"{number}: {row.question}"})
        for number, row in enumerate(asked)
    ]
    write_rows(workspace.data / "eval.jsonl", numbered)
    for key in REPLIES:
        (gates / key).touch()
    service: Service = request.getfixturevalue("service")

    def look(moment: str) -> None:
        browser.shoot(SHOTS / f"try-{moment}-{width}{'-dark' if dark else ''}.png")
        assert browser.accessibility_faults() == []
        assert browser.js("document.scrollingElement.scrollWidth") <= width

    browser.look(width=width, height=900, dark=dark)
    opened(browser, service)
    look("before")
    press(browser, "compare")
    browser.wait(f"{FAULT} !== ''")
    look("fault")
    write_before(browser, "Answer the question", f"{BRIEF} ")
    press(browser, "compare")
    browser.wait(f"{VERDICT} !== null")
    assert texts(browser, "#verdict strong")[0].startswith("Worse: ")
    browser.js("document.getElementById('result').scrollIntoView()")
    look("compared")
    press(browser, "keep")
    browser.wait("document.activeElement.id === 'kept-title'")
    look("kept")
    assert browser.problems == []
