import pytest

from sluice.guardrails.check import CheckContext, CheckResources
from sluice.guardrails.checks.markup import MarkupCheck, MarkupOptions, links_of
from support.guardrails import finder

find = finder("markup")
ACTING = {
    "<script>alert(1)</script>": "html",
    '<img src="x" onerror="x()">': "html",
    '<p onclick = "x()">': "html",
    "<iframe src=": "html",
    "![logo](https://evil.example.net/p.png?q=secret)": "image",
    "![logo][1]": "image",
    "![logo](relative.png)": "image",
    "[click](https://evil.example.net/a)": "link",
    "see https://evil.example.net/a.": "link",
    "//evil.example.net/x": "link",
    "www.evil.example.net": "link",
    "[x](javascript:alert(1))": "script",
    "data:text/html,<b>": "script",
    "&lt;script&gt;": "html",
    "hxxp then h\u200bttps://evil.example.net": "link",
}
HARMLESS = [
    "a < b and c > d",
    "List[int] and dict[str, int]",
    "use `<your-name>` here",
    "an array[0] (of numbers)",
    "data: 12 rows",
    "the ratio 1//2 is 0",
    'mounts = {"all://": None, "http://": proxy}',
    "",
]


@pytest.mark.parametrize(("text", "kind"), ACTING.items())
def test_what_acts_is_found(text: str, kind: str) -> None:
    assert f"markup.{kind}" in {found.reason for found in find(f"Look: {text}")}


@pytest.mark.parametrize("text", HARMLESS)
def test_what_only_looks_like_it_passes(text: str) -> None:
    assert find(text) == []


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("https://docs.example.org/a", True),
        ("https://example.org", True),
        ("www.example.org/x", True),
        ("https://example.org.evil.example.net/", False),
        ("https://example.org@evil.example.net/", False),
        ("https://evilexample.org/", False),
        ("ftp://example.org/", False),
        ("https://example.org\\@evil.example.net", False),
        ("https://[::1/", False),
    ],
)
def test_links_lead_to_allowed_hosts_only(address: str, allowed: bool) -> None:
    assert (find(f"See {address} now", MarkupOptions(hosts=("example.org",))) == []) is allowed


def test_the_span_is_the_address_without_the_end_of_the_sentence() -> None:
    text = "See https://evil.example.net/a."
    (found,) = find(text)
    assert text[found.start : found.end] == "https://evil.example.net/a"


PROXY = "http://user:password" + "@localhost:8030"  # of an example


@pytest.mark.parametrize(
    ("answer", "reasons"),
    [
        ("See https://docs.example.net/a or www.example.net.", set()),
        (f'Set `proxy="{PROXY}"`.', set()),
        ("See https://docs.example.net/a?said=secret.", {"markup.link"}),
        ("See https://docs.example.net/ now.", {"markup.link"}),
        ("See https://evil.example.net/a.", {"markup.link"}),
        ("![a](https://docs.example.net/a)", {"markup.image"}),
    ],
)
def test_a_link_that_stands_in_a_passage_is_kept_and_no_other(answer: str, reasons: set[str]) -> None:
    passages = ["[a](https://docs.example.net/a), www.example.net", PROXY]
    check = MarkupCheck(MarkupOptions(), CheckResources())
    found = check.find(CheckContext(answer, CheckResources(), links=links_of(answer, passages)))
    assert {one.reason for one in found} == reasons
