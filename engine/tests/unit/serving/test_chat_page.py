"""The chat page in a real browser: by keyboard, light and dark, wide and narrow, open and with keys."""

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from sluice.core.processes import wait_until
from sluice.guardrails.settings import CheckSettings
from sluice.serving.api_keys import add_key
from sluice.serving.chat_page import load_page
from sluice.serving.http_api import create_app
from sluice.serving.middleware import TrafficState
from sluice.serving.settings import PageSettings
from support.serving.fakes import GUARDRAILS, ScriptedChat, ScriptedRetriever, run_application, scripted_bundle
from support.serving.process import Service
from unit.serving.browser import Browser
from unit.serving.client import Client

QUESTION = "How much overlap do chunks have?"
OWNER = "Write to owner@example.org. Or call +1 555 123 4567! That is all."


def test_the_policy_allows_the_page_and_nothing_else() -> None:
    html, headers = load_page(PageSettings())
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert len(re.findall(r"(?:script|style)-src 'sha256-[\w+/=]{44}'", policy)) == 2
    assert "unsafe" not in policy
    text = html.decode()
    assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)", text)  # nothing from elsewhere
    assert not re.findall(r"<[^>]+\son\w+=|<[^>]+\sstyle=|innerHTML|\beval\b", text)


def test_the_page_says_what_a_project_wants_it_to_say_and_nothing_of_it_is_html() -> None:
    evil = "</title></script><script>alert(1)</script>{{notice}}"
    html, headers = load_page(PageSettings(name=evil, greeting="Hi & <b>", examples=("Is 1 < 2?",)), 300)
    text = html.decode()
    assert "<title>&lt;/title&gt;&lt;/script&gt;&lt;script&gt;alert(1)&lt;/script&gt;{{notice}}</title>" in text
    assert "Hi &amp; &lt;b&gt;" in text
    assert '<button type="button">Is 1 &lt; 2?</button>' in text
    assert 'data-most="300"' in text
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in headers["content-security-policy"]


def test_the_service_gives_the_page_its_words_and_the_limit_of_its_guard() -> None:
    guards = GUARDRAILS.model_copy(update={"input": (CheckSettings(check="length", action="block"),)})
    bundle = replace(scripted_bundle(page={"name": "Ask Ada", "notice": "I am an AI."}), guardrails=guards)
    runner = run_application(ScriptedChat({}), ScriptedRetriever({}), bundle=bundle)
    page = Client(create_app(bundle, runner, TrafficState())).get("/").text
    assert "<title>Ask Ada</title>" in page
    assert '<p id="notice">I am an AI.</p>' in page
    with pytest.raises(ValidationError):
        PageSettings(notice=" ")  # no page is silent about the AI
    assert 'data-most="2000"' in page


@pytest.fixture(scope="module")
def chromium(program: str) -> Iterator[Browser]:
    with Browser(program) as running:
        yield running


@pytest.fixture
def browser(chromium: Browser) -> Browser:
    """Every service has a port of its own, so that no test finds what the page kept in another."""
    chromium.open("about:blank")
    chromium.problems.clear()
    chromium.asked.clear()
    return chromium


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def service(state: Path) -> Iterator[Service]:
    chat = "ScriptedChat(script=REPLIES | {'slowly': 'A sentence. ' * 40}, piece=12, delay=0.05)"
    with Service(chat, f"state={str(state)!r}") as running:
        yield running


def ask(browser: Browser, question: str) -> None:
    browser.wait("document.activeElement.id === 'question'")
    browser.type(question)
    browser.press("Enter")


def answered(count: int) -> str:
    return f"document.querySelectorAll('.answer[aria-busy=false]').length === {count}"


def begin(browser: Browser, service: Service) -> None:
    """Opens the page, and has one question answered."""
    browser.open(service.url + "/")
    ask(browser, QUESTION)
    browser.wait(answered(1))


def kept(state: Path) -> list[dict[str, object]]:
    return [json.loads(line) for path in (state / "feedback").glob("*") for line in path.read_text().splitlines()]


@pytest.mark.real
def test_a_talk_by_keyboard(browser: Browser, service: Service, state: Path) -> None:
    browser.look(width=1100, height=800)
    browser.open(service.url + "/")
    assert browser.js("document.getElementById('notice').checkVisibility()")
    assert "notice" in browser.js("document.getElementById('question').getAttribute('aria-describedby')")
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
    passed = []
    while passed[-1:] != ["Good"]:
        browser.press("Tab")
        passed.append(browser.js("document.activeElement.ariaLabel || document.activeElement.textContent"))
    assert passed == ["Passage from Chunking", "Copy", "Retry", "Edit", "Good"]
    browser.press("Enter")
    browser.wait("document.querySelector('.thanks').textContent === 'Noted, thank you.'")
    assert [(line["score"], line["release"]) for line in kept(state)] == [(1.0, "r-0123456789ab")]
    browser.press("Tab")
    browser.press("Enter")
    browser.wait("!document.querySelector('.aside').hidden")
    browser.js("document.querySelector('.aside input').focus()")
    browser.type("It is 128.")
    browser.press("Enter")
    browser.wait("document.querySelector('.aside').hidden")
    browser.wait("document.querySelector('.thanks').textContent === 'Noted, thank you.'")
    wait_until(lambda: kept(state)[-1]["comment"] != "", seconds=60)  # the page has said so before, of the score
    assert kept(state)[-1]["comment"] == "It is 128."
    browser.js("document.getElementById('question').focus()")
    ask(browser, "Who answers for this?")
    browser.wait(answered(2))
    spoken = browser.js("context(turns).map((message) => message.role + ': ' + message.content)")
    assert spoken == [f"user: {QUESTION}", "assistant: 64 tokens", "user: Who answers for this?", f"assistant: {OWNER}"]

    browser.look(width=360, height=740)
    assert browser.js("document.scrollingElement.scrollWidth") <= 360
    edges = "[...document.querySelectorAll('main *')].map(e => e.getBoundingClientRect().right)"
    assert browser.js(f"Math.max(...{edges})") <= 360
    assert browser.problems == []
    assert {url for url in browser.asked if not url.startswith(("data:", service.url))} == set()


@pytest.mark.real
def test_escape_stops_a_stream(browser: Browser) -> None:
    never = "Path('/nowhere')"  # for which the last sentence waits
    chat = f"ScriptedChat(script={{'overlap': 'A sentence. ' * 200}}, piece=12, delay=0.05, gate={never})"
    with Service(chat) as slow:
        browser.open(slow.url + "/")
        ask(browser, QUESTION)
        browser.wait("document.querySelector('.answer')?.textContent.length > 30")
        assert browser.js("document.getElementById('stop').checkVisibility()")
        assert browser.js("document.querySelectorAll('header button:not([hidden]):enabled').length") == 0
        browser.press("Escape")
        browser.wait("document.querySelector('.note')?.textContent === 'Stopped.'")
        assert browser.js("!document.getElementById('stop').checkVisibility()")
        assert browser.js("document.querySelectorAll('button:disabled').length") == 0
        assert browser.js("document.activeElement.id") == "question"
        assert browser.js("document.querySelector('.verdict') !== null")


@pytest.mark.real
def test_a_service_with_keys_asks_for_one(browser: Browser, service: Service, state: Path) -> None:
    secret = add_key(state / "keys.json", "page", tenant=None, scopes=["chat", "feedback"], rate=60)
    browser.look(width=1100, height=800)
    browser.open(service.url + "/")
    browser.js("new Promise(done => setTimeout(done, 1200))")  # the service looks at its keys once a second
    ask(browser, QUESTION)
    browser.wait("document.getElementById('keys').open")
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

   ```sh
   # twice
     make check
   ```

- outer
  - `inner`

| kind | years |
|---|---:|
| oak \\| elm | 50 |

```
make release
```

See [the page](https://example.org/chunks) or [that one](https://example.org/a_(b)),
and <b onclick="x()">this</b> or [that](javascript:alert(1)).
<img src=x onerror="document.title='owned'">
"""


def texts(browser: Browser, selector: str) -> list[str]:
    found: list[str] = browser.js(f"[...document.querySelectorAll({selector!r})].map(one => one.textContent)")
    return found


def click(browser: Browser, words: str, within: str = "document") -> None:
    browser.js(f"[...{within}.querySelectorAll('button')].find(one => one.textContent === {words!r}).click()")


def answer_with(browser: Browser, text: str, **closing: Any) -> None:
    """Has the page's next requests answered with a stream of this text, without the service."""
    frame = {"id": f"chatcmpl-{'a' * 48}", "release": "r-1"}
    chunks = [
        frame | {"choices": [{"delta": {"content": text}}]},
        frame | {"choices": [{"delta": {}, "finish_reason": "stop"}]} | closing,
    ]
    stream = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"
    browser.js(f"void (window.fetch = async () => new Response({json.dumps(stream)}))")


def unplug(browser: Browser) -> None:
    browser.js("void (window.fetch = async () => { throw new TypeError('Failed to fetch'); })")


@pytest.mark.real
def test_markdown_is_shown_and_html_is_text(browser: Browser) -> None:
    chat = f"ScriptedChat(script={{'overlap': {MARKDOWN!r}}}, piece=9)"
    with Service(chat) as running:
        browser.look(width=1100, height=900)
        browser.open(running.url + "/")
        ask(browser, QUESTION)
        browser.wait(answered(1))
        assert texts(browser, ".answer h3") == ["Two steps"]
        assert texts(browser, ".answer ol > li") == ["Put overlap to 64 tokens.", "Build again.# twice\n  make check"]
        assert texts(browser, ".answer ul > li > ul > li") == ["inner"]
        assert texts(browser, ".answer th, .answer td") == ["kind", "years", "oak | elm", "50"]
        assert texts(browser, ".answer strong") == ["64 tokens"]
        assert texts(browser, ".answer pre") == ["# twice\n  make check", "make release"]
        links = "[...document.querySelectorAll('.answer a')].map(one => [one.href, one.target, one.rel])"
        outward = ["_blank", "noopener noreferrer"]
        addresses = ("https://example.org/chunks", "https://example.org/a_(b)")
        assert browser.js(links) == [[address, *outward] for address in addresses]
        assert browser.js("document.querySelectorAll('.answer b, .answer img').length") == 0
        assert "<img src=x onerror=" in browser.js("document.querySelector('.answer').textContent")
        assert browser.js("document.title") == "Assistant"
        assert browser.js("context(turns)[1].content.startsWith('## Two steps')")  # the model sees what it has written
        assert browser.problems == []
        assert browser.accessibility_faults() == []


@pytest.mark.real
def test_a_source_opens_its_page_at_the_heading(browser: Browser, service: Service) -> None:
    browser.open(service.url + "/")
    place = {"start": 0, "end": 4, "text": "Oak.", "score": 1.0, "passage": {"id": "d", "start": 0, "text": "Oak."}}
    addresses = {"piers": "https://example.org/piers#oak", "moles": None, "quays": "javascript:alert(1)"}
    cited = [place | {"document": one, "title": one, "address": address} for one, address in addresses.items()]
    answer_with(browser, "Oak.", citations=cited)
    ask(browser, QUESTION)
    browser.wait(answered(1))
    assert browser.js("[...document.querySelectorAll('.sources a')].map(one => one.href)") == [addresses["piers"]]
    assert browser.problems == []


@pytest.mark.real
def test_an_answer_goes_only_when_another_is_there(browser: Browser, service: Service) -> None:
    browser.open(service.url + "/")
    for count, question in enumerate([QUESTION, "Who answers for this?"], 1):
        ask(browser, question)
        browser.wait(answered(count))
    unplug(browser)
    click(browser, "Retry")
    browser.wait("document.querySelector('.stays') !== null")
    assert texts(browser, ".stays") == [
        "No answer: the service can't be reached. Try again in a moment. The earlier answer stays."
    ]
    assert texts(browser, ".answer") == ["64 tokens", OWNER]

    click(browser, "Edit")
    browser.js("document.getElementById('question').select()")
    ask(browser, "And how much overlap?")
    browser.wait("document.querySelector('.stays')?.checkVisibility()")
    browser.wait("document.getElementById('question').value === 'And how much overlap?'")  # what was written is kept
    assert browser.js("turns.map(one => one.question)") == [QUESTION, "Who answers for this?"]

    answer_with(browser, "An eighth of a chunk.")
    browser.press("Enter")
    browser.wait("document.querySelectorAll('article').length === 1")
    assert texts(browser, ".answer") == ["An eighth of a chunk."]
    assert texts(browser, ".note") == ["The conversation as it was before is in History."]
    kept_talks = browser.js("read().map(talk => talk.turns.map(turn => turn.question))")
    assert kept_talks == [["And how much overlap?"], [QUESTION, "Who answers for this?"]]
    assert browser.problems == []


@pytest.mark.real
def test_a_question_that_is_too_long_stays_whole_and_is_not_sent(browser: Browser, service: Service) -> None:
    browser.open(service.url + "/")
    browser.js("document.getElementById('question').dataset.most = 40")
    browser.wait("document.activeElement.id === 'question'")
    browser.type("🤖" * 36)
    assert texts(browser, "#count") == [""]
    browser.type("🤖" * 14)
    browser.press("Enter")
    assert browser.js("document.getElementById('question').value") == "🤖" * 50
    assert texts(browser, "#count") == ["50 of 40 characters. Shorten your question by 10 to ask it."]
    assert texts(browser, "#said") == texts(browser, "#count")
    assert texts(browser, "article") == []
    assert browser.accessibility_faults() == []


@pytest.mark.real
def test_a_refusal_is_told_in_words(browser: Browser, service: Service) -> None:
    blocked, words = "injection.override", "A safety check stopped this answer. Try asking in other words."
    browser.open(service.url + "/")
    answer_with(browser, "The handbook does not say.", blocked=blocked, declined=True, citations=[])
    ask(browser, QUESTION)
    browser.wait(answered(1))
    assert texts(browser, ".answer, .note") == ["", words]
    assert texts(browser, "#said") == [words]
    assert browser.js("context(turns)") == []


@pytest.mark.real
def test_conversations_stay_in_the_tab_and_longer_where_somebody_wants_it(browser: Browser, service: Service) -> None:
    browser.look(width=1100, height=800)
    begin(browser, service)
    browser.open(service.url + "/")  # loaded again, it goes on
    browser.wait(answered(1))
    assert browser.js("context(turns).map(one => one.content)") == [QUESTION, "64 tokens"]
    assert texts(browser, "mark") == ["64 tokens"]
    assert browser.js("localStorage.length") == 0

    click(browser, "New")
    assert texts(browser, "article") == []
    ask(browser, "What is the capital of Peru?")
    browser.wait(answered(1))
    click(browser, "History")
    assert texts(browser, "#talks li button:first-child") == ["What is the capital of Peru?", QUESTION]
    assert browser.accessibility_faults() == []
    browser.js("document.getElementById('keep').click()")
    assert browser.js("[localStorage.length, sessionStorage.length]") == [1, 0]
    browser.js("document.querySelectorAll('#talks li button')[2].click()")  # back to the older one
    assert texts(browser, "article h2") == [QUESTION]
    assert not browser.js("document.getElementById('talks').open")
    click(browser, "History")
    browser.js("document.querySelectorAll('#talks li button')[1].click()")
    assert texts(browser, "#talks li button:first-child") == [QUESTION]
    click(browser, "Delete all")
    assert browser.js("document.activeElement.textContent") == "Keep them"  # nothing is deleted by one press
    assert texts(browser, "article h2") == [QUESTION]
    browser.press("Enter")
    click(browser, "Delete all")
    click(browser, "Delete all", "document.getElementById('sure')")
    assert browser.js("localStorage.getItem('sluice-talks')") == "[]"
    assert texts(browser, "article") == []
    browser.js("document.getElementById('keep').click()")
    assert browser.js("localStorage.length") == 0
    assert browser.problems == []


@pytest.mark.real
def test_feedback_shows_only_what_was_saved(browser: Browser, service: Service) -> None:
    pressed = "[...document.querySelectorAll('.verdict button')].map(one => one.ariaPressed)"
    begin(browser, service)
    for words in ("Good", "Bad", "Good"):
        click(browser, words)
        browser.wait(f"{pressed}[{int(words == 'Bad')}] === 'true'")
    click(browser, "Bad")  # a fourth time
    browser.wait("document.querySelector('.thanks').textContent.startsWith('Your feedback')")
    assert texts(browser, ".thanks") == ["Your feedback wasn't saved: this answer can't be rated again."]
    assert browser.js(pressed) == ["true", "false"]
    unplug(browser)
    click(browser, "Bad")
    browser.wait("document.querySelector('.thanks').textContent.includes('reached')")
    assert browser.js(pressed) == ["true", "false"]

    browser.open(service.url + "/")
    browser.wait(answered(1))
    assert browser.js(pressed) == ["true", "false"]


@pytest.mark.real
@pytest.mark.parametrize(("width", "height", "dark"), [(1100, 900, True), (320, 640, False)])
def test_axe_finds_nothing(browser: Browser, service: Service, width: int, height: int, dark: bool) -> None:
    browser.look(width=width, height=height, dark=dark)
    browser.open(service.url + "/")
    assert browser.accessibility_faults() == []
    ask(browser, QUESTION)
    browser.wait(answered(1))
    browser.js("document.querySelector('summary').click()")
    browser.js("document.querySelector('blockquote').append(' A long passage has to scroll.'.repeat(80))")
    click(browser, "Edit")
    assert browser.accessibility_faults() == []
    browser.press("Escape")
    ask(browser, "What is slowly said: overlap do chunks?")
    browser.wait("document.querySelector('.note.bad') !== null")
    assert browser.accessibility_faults() == []
    assert browser.js("document.scrollingElement.scrollWidth") <= width
