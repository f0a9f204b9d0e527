"""The chat page in a real browser: by keyboard, light and dark, wide and narrow, open and with keys.

Screenshots are left in build/browser/.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from sluice.core.processes import wait_until
from sluice.serving.api_keys import add_key
from sluice.serving.chat_page import load_page
from unit.serving.browser import Browser
from unit.serving.process import Service

SHOTS = Path(__file__).parents[4] / "build" / "browser"
QUESTION = "How much overlap do chunks have?"


def test_the_policy_allows_the_page_and_nothing_else() -> None:
    html, headers = load_page()
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert len(re.findall(r"(?:script|style)-src 'sha256-[\w+/=]{44}'", policy)) == 2
    assert "unsafe" not in policy
    text = html.decode()
    assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)", text)  # nothing from elsewhere
    assert not re.findall(r"<[^>]+\son\w+=|<[^>]+\sstyle=|innerHTML|\beval\b", text)


@pytest.fixture
def browser(program: str) -> Iterator[Browser]:
    with Browser(program) as browser:
        yield browser


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def service(state: Path) -> Iterator[Service]:
    chat = "ScriptedChat(script=REPLIES | {'slowly': 'A sentence. ' * 40}, piece=12, delay=0.05)"
    running = Service(chat, f"state={str(state)!r}")
    yield running
    running.stop()


def ask(browser: Browser, question: str) -> None:
    browser.wait("document.activeElement.id === 'question'")
    browser.type(question)
    browser.press("Enter")


def answered(count: int) -> str:
    return f"document.querySelectorAll('.answer[aria-busy=false]').length === {count}"


def kept(state: Path) -> list[dict[str, object]]:
    return [json.loads(line) for path in (state / "feedback").glob("*") for line in path.read_text().splitlines()]


@pytest.mark.real
def test_a_talk_by_keyboard(browser: Browser, service: Service, state: Path) -> None:
    browser.look(width=1100, height=800)
    browser.open(service.url + "/")
    browser.wait("document.getElementById('release').textContent === 'r-0123456789ab'")
    browser.shoot(SHOTS / "empty.png")
    ask(browser, QUESTION)
    browser.wait(answered(1))
    assert browser.js("document.querySelector('.answer').textContent") == "64 tokens"
    assert browser.js("document.getElementById('said').textContent") == "Answer: 64 tokens"

    # Open the source, then judge: all without a mouse.
    browser.js("document.querySelector('summary').focus()")
    browser.press("Enter")
    assert browser.js("document.querySelector('details').open")
    assert browser.js("document.querySelector('mark').textContent") == "64 tokens"
    assert "Neighbouring chunks share" in browser.js("document.querySelector('blockquote').textContent")
    browser.press("Tab")
    assert browser.js("document.activeElement.textContent") == "Good"
    browser.press("Enter")
    browser.wait("document.querySelector('.verdict span').textContent === 'Noted, thank you.'")
    assert [(line["score"], line["release"]) for line in kept(state)] == [(1.0, "r-0123456789ab")]
    browser.press("Tab")
    browser.press("Enter")
    browser.wait("!document.querySelector('.aside').hidden")
    browser.js("document.querySelector('.aside input').focus()")
    browser.type("It is 128.")
    browser.press("Enter")
    browser.wait("document.querySelector('.aside').hidden")
    browser.wait("document.querySelector('.verdict span').textContent === 'Noted, thank you.'")
    wait_until(lambda: kept(state)[-1]["comment"] != "", seconds=60)  # the page has said so before, of the score
    assert kept(state)[-1]["comment"] == "It is 128."
    browser.js("document.getElementById('question').focus()")
    ask(browser, "What is the capital of Peru?")
    browser.wait(answered(2))
    spoken = browser.js("earlier.map((message) => message.role + ': ' + message.content)")
    assert spoken == [
        f"user: {QUESTION}",
        "assistant: 64 tokens",
        "user: What is the capital of Peru?",
        "assistant: The handbook does not say.",
    ]

    browser.shoot(SHOTS / "light.png")
    browser.look(width=1100, height=800, dark=True)
    browser.shoot(SHOTS / "dark.png")
    browser.look(width=360, height=740)
    assert browser.js("document.scrollingElement.scrollWidth") <= 360
    edges = "[...document.querySelectorAll('main *')].map(e => e.getBoundingClientRect().right)"
    assert browser.js(f"Math.max(...{edges})") <= 360
    browser.shoot(SHOTS / "narrow.png")
    assert browser.problems == []
    assert {url for url in browser.asked if not url.startswith(("data:", service.url))} == set()


@pytest.mark.real
def test_an_error_is_told_and_the_next_question_is_answered(browser: Browser, service: Service) -> None:
    browser.open(service.url + "/")
    ask(browser, "What is slowly said: overlap do chunks?")  # not scripted: an error of the service
    browser.wait("document.querySelector('.note.bad')?.textContent.startsWith('No whole answer: the service failed')")
    ask(browser, QUESTION)
    browser.wait(answered(2))
    assert browser.js("document.querySelectorAll('.answer')[1].textContent") == "64 tokens"


@pytest.mark.real
def test_escape_stops_a_stream(browser: Browser) -> None:
    never = "Path('/nowhere')"  # for which the last sentence waits
    slow = Service(f"ScriptedChat(script={{'overlap': 'A sentence. ' * 200}}, piece=12, delay=0.05, gate={never})")
    try:
        browser.open(slow.url + "/")
        ask(browser, QUESTION)
        browser.wait("document.querySelector('.answer')?.textContent.length > 30")
        assert browser.js("document.getElementById('stop').checkVisibility()")
        browser.shoot(SHOTS / "writing.png")
        browser.press("Escape")
        browser.wait("document.querySelector('.note')?.textContent === 'Stopped.'")
        assert browser.js("!document.getElementById('stop').checkVisibility()")
        assert browser.js("document.activeElement.id") == "question"
        assert browser.js("document.querySelector('.verdict') !== null")
    finally:
        slow.stop()


@pytest.mark.real
def test_a_service_with_keys_asks_for_one(browser: Browser, service: Service, state: Path) -> None:
    secret = add_key(state / "keys.json", "page", tenant=None, scopes=["chat", "feedback"], rate=60)
    browser.look(width=1100, height=800)
    browser.open(service.url + "/")
    browser.js("new Promise(done => setTimeout(done, 1200))")  # the service looks at its keys once a second
    ask(browser, QUESTION)
    browser.wait("document.getElementById('keys').open")
    browser.shoot(SHOTS / "key.png")
    assert browser.js("document.activeElement.id") == "key"
    browser.type("not a key")
    browser.press("Enter")
    browser.wait("document.getElementById('keys-why').textContent.startsWith('That key is not in force')")
    browser.wait("document.getElementById('keys').open")
    browser.type(secret)
    browser.press("Enter")
    browser.wait(answered(1))
    assert browser.js("document.querySelector('.answer').textContent") == "64 tokens"
    assert browser.js("sessionStorage.getItem('sluice-key')") == secret
    assert browser.js("localStorage.length + document.cookie.length") == 0
    assert browser.problems == []


MARKDOWN = """\
## Two steps

1. Put `overlap` to **64 tokens**.
2. Build *again*.

```
make release
```

See [the page](https://example.org/chunks), and <b onclick="x()">this</b> or [that](javascript:alert(1)).
<img src=x onerror="document.title='owned'">
"""


def saying(text: str) -> str:
    return f"ScriptedChat(script={{'overlap': {text!r}}}, piece=9)"


def texts(browser: Browser, selector: str) -> list[str]:
    found: list[str] = browser.js(f"[...document.querySelectorAll({selector!r})].map(one => one.textContent)")
    return found


def click(browser: Browser, words: str, within: str = "document") -> None:
    browser.js(f"[...{within}.querySelectorAll('button')].find(one => one.textContent === {words!r}).click()")


def faults(browser: Browser) -> list[str]:
    return browser.accessibility_faults("serious", "critical")


@pytest.mark.real
def test_markdown_is_shown_and_html_is_text(browser: Browser) -> None:
    running = Service(saying(MARKDOWN))
    try:
        browser.look(width=1100, height=900)
        browser.open(running.url + "/")
        ask(browser, QUESTION)
        browser.wait(answered(1))
        assert texts(browser, ".answer h3") == ["Two steps"]
        assert texts(browser, ".answer ol > li") == ["Put overlap to 64 tokens.", "Build again."]
        assert texts(browser, ".answer strong") == ["64 tokens"]
        assert texts(browser, ".answer pre") == ["make release"]
        links = "[...document.querySelectorAll('.answer a')].map(one => [one.href, one.target, one.rel])"
        assert browser.js(links) == [["https://example.org/chunks", "_blank", "noopener noreferrer"]]
        assert browser.js("document.querySelectorAll('.answer b, .answer img').length") == 0
        assert "<img src=x onerror=" in browser.js("document.querySelector('.answer').textContent")
        assert browser.js("document.title") == "Sluice"
        assert browser.js("earlier[1].content.startsWith('## Two steps')")  # the model sees what it has written
        assert browser.problems == []
        assert faults(browser) == []
    finally:
        running.stop()


@pytest.mark.real
def test_retry_edit_and_copy(browser: Browser, service: Service) -> None:
    browser.call("Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])
    browser.open(service.url + "/")
    ask(browser, "What is slowly said: overlap do chunks?")  # not scripted: an error of the service
    browser.wait("document.querySelector('.note.bad') !== null")
    ask(browser, QUESTION)
    browser.wait(answered(2))
    assert "Copy" not in texts(browser, "article:first-of-type button")  # there is nothing to copy
    click(browser, "Copy", "document.querySelectorAll('article')[1]")
    browser.wait("document.getElementById('said').textContent === 'Copied.'")
    assert browser.js("navigator.clipboard.readText()") == "64 tokens"
    click(browser, "Retry", "document.querySelectorAll('article')[1]")
    browser.wait(answered(2))
    assert browser.js("earlier.map(one => one.content)") == [QUESTION, "64 tokens"]  # once, though asked twice

    browser.wait("document.activeElement.id === 'question'")
    click(browser, "Edit", "document.querySelectorAll('article')[0]")
    assert texts(browser, "article") == []
    assert browser.js("document.getElementById('question').value") == "What is slowly said: overlap do chunks?"
    browser.js("document.getElementById('question').select()")
    ask(browser, QUESTION)
    browser.wait(answered(1))
    assert texts(browser, "h2#question-1, article h2") == [QUESTION]
    browser.call("Input.dispatchKeyEvent", type="keyDown", key="ArrowUp", code="ArrowUp", windowsVirtualKeyCode=38)
    assert browser.js("document.getElementById('question').value") == QUESTION
    assert texts(browser, "article") == []
    assert browser.problems == []


@pytest.mark.real
def test_conversations_stay_in_the_tab_and_longer_where_somebody_wants_it(browser: Browser, service: Service) -> None:
    browser.look(width=1100, height=800)
    browser.open(service.url + "/")
    ask(browser, QUESTION)
    browser.wait(answered(1))
    browser.open(service.url + "/")  # loaded again, it goes on
    browser.wait(answered(1))
    assert browser.js("earlier.map(one => one.content)") == [QUESTION, "64 tokens"]
    assert texts(browser, "mark") == ["64 tokens"]
    assert browser.js("localStorage.length") == 0

    click(browser, "New")
    assert texts(browser, "article") == []
    ask(browser, "What is the capital of Peru?")
    browser.wait(answered(1))
    click(browser, "History")
    assert texts(browser, "#talks li button:first-child") == ["What is the capital of Peru?", QUESTION]
    browser.shoot(SHOTS / "history.png")
    assert faults(browser) == []
    browser.js("document.getElementById('keep').click()")
    assert browser.js("[localStorage.length, sessionStorage.length]") == [1, 0]
    browser.js("document.querySelectorAll('#talks li button')[2].click()")  # back to the older one
    assert texts(browser, "article h2") == [QUESTION]
    assert not browser.js("document.getElementById('talks').open")
    click(browser, "History")
    browser.js("document.querySelectorAll('#talks li button')[1].click()")
    assert texts(browser, "#talks li button:first-child") == [QUESTION]
    click(browser, "Delete all")
    assert browser.js("localStorage.getItem('sluice-talks')") == "[]"
    assert texts(browser, "article") == []
    browser.js("document.getElementById('keep').click()")
    assert browser.js("localStorage.length") == 0
    assert browser.problems == []


@pytest.mark.real
def test_feedback_has_a_reason(browser: Browser, service: Service, state: Path) -> None:
    browser.open(service.url + "/")
    ask(browser, QUESTION)
    browser.wait(answered(1))
    click(browser, "Bad")
    browser.wait("document.querySelector('.verdict span').textContent === 'Noted, thank you.'")
    browser.js("document.querySelector('select').value = 'incomplete'")
    browser.js("document.querySelector('.aside input').focus()")
    browser.type("Of which chunks?")
    browser.press("Enter")
    assert wait_until(lambda: kept(state)[-1]["comment"] == "incomplete: Of which chunks?", seconds=60)
    assert faults(browser) == []


@pytest.mark.real
@pytest.mark.parametrize(("width", "height", "dark"), [(1100, 900, False), (1100, 900, True), (390, 844, False)])
def test_axe_finds_nothing_serious(browser: Browser, service: Service, width: int, height: int, dark: bool) -> None:
    browser.look(width=width, height=height, dark=dark)
    browser.open(service.url + "/")
    assert faults(browser) == []
    ask(browser, QUESTION)
    browser.wait(answered(1))
    browser.js("document.querySelector('summary').click()")
    ask(browser, "What is slowly said: overlap do chunks?")
    browser.wait("document.querySelector('.note.bad') !== null")
    assert faults(browser) == []
    browser.shoot(SHOTS / f"error-{width}{'-dark' if dark else ''}.png")
    assert browser.js("document.scrollingElement.scrollWidth") <= width


@pytest.mark.real
def test_words_stand_out_from_their_ground_and_fields_have_names(browser: Browser, service: Service) -> None:
    contrast = """
        (() => {
          const style = getComputedStyle(document.documentElement);
          const light = (name) => {
            const hex = style.getPropertyValue(name).trim().slice(1);
            const [r, g, b] = [0, 2, 4].map(at => parseInt(hex.slice(at, at + 2), 16) / 255)
              .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
            return 0.2126 * r + 0.7152 * g + 0.0722 * b;
          };
          const ratio = (a, b) => {
            const [x, y] = [light(a), light(b)].sort((p, q) => q - p);
            return (x + 0.05) / (y + 0.05);
          };
          return Math.min(...[["--ink", "--ground"], ["--ink", "--sheet"], ["--ink", "--mark"], ["--soft", "--ground"],
            ["--soft", "--sheet"], ["--bad", "--ground"], ["--accent", "--ground"], ["--accent-ink", "--accent"]]
            .map(([a, b]) => ratio(a, b)));
        })()
    """
    nameless = "[...document.querySelectorAll('input, textarea')].filter(field => !field.labels.length).length"
    for dark in (False, True):
        browser.look(width=1100, height=800, dark=dark)
        browser.open(service.url + "/")
        assert browser.js(contrast) >= 4.5  # WCAG 2.2, AA
        assert browser.js(nameless) == 0
