import re
from collections.abc import Iterator
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token

from sluice.evaluation.comparison_result import Comparison
from sluice.evaluation.reports.comparison_comment import LIMIT, write_comment
from sluice.evaluation.reports.phrasing import ComparedVersion
from unit.evaluation.asking import ask
from unit.evaluation.reports.conftest import HOSTILE, Comparing, Sides

ALLOWED = {"code", "br", "details", "summary", "pre", "del", "ins"}


def flat(tokens: list[Token]) -> Iterator[Token]:
    for token in tokens:
        yield token
        yield from flat(token.children or [])


def parsed(text: str) -> list[Token]:
    return list(flat(MarkdownIt("gfm-like", {"linkify": False}).parse(text)))


def tags(tokens: list[Token]) -> set[str]:
    html = "".join(token.content for token in tokens if token.type in ("html_inline", "html_block"))
    return set(re.findall(r"</?\s*(\w+)", html))


def check_harmless(text: str) -> None:
    tokens = parsed(text)
    assert not {token.type for token in tokens} & {"link_open", "image", "fence", "code_block", "code_inline", "s_open"}
    assert tags(tokens) <= ALLOWED
    # GitHub makes mentions and references of what is outside of code.
    outside = re.sub(r"<(code|pre)>.*?</\1>", "", text, flags=re.DOTALL)
    assert "@" not in outside
    assert not re.search(r"https?:|www\.|\w#\d|(?<!&)#\d", outside)
    # Every row of a table has as many cells as its head.
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(rows) > 3
    opened = {tag: text.count(f"<{tag}>") for tag in ALLOWED - {"br"}}
    assert opened == {tag: text.count(f"</{tag}>") for tag in ALLOWED - {"br"}}


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split(" | ")]


def test_it_says_first_what_matters(worse: Comparison, sides: Sides, prompts: list[dict[str, Any]]) -> None:
    text = write_comment(worse, *sides, prompts[:1])
    lines = text.splitlines()
    assert lines[0] == "## ✕ Worse: decline&#95;accuracy"
    assert lines[2].startswith("Worse: decline&#95;accuracy 0.")
    for part in (
        "broken and",
        "fixed of 149 cases",
        "99 % confidence across all 3 deciding metrics",
        "per 1,000 questions",
    ):
        assert part in lines[2]
    assert "- 1 not evaluated in head: q051" in lines
    assert "- 1 failed in head: q050" in lines
    order = [
        "**Not green",
        "| metric |",
        "both runs cost $0.11",
        "**Worst 3**, of ",
        "**Best 3**, of ",
        " more broken</summary>",
        "<summary>1 failed",
        "<summary>1 not evaluated",
        " more fixed</summary>",
        "informational metrics</summary>",
        "<summary>prompt",
    ]
    places = [text.index(part) for part in order]
    assert places == sorted(places)
    check_harmless(text)
    assert "<del>only</del><ins>```\n&lt;/pre&gt;@you</ins>" in text
    temperature = "- <code>temperature</code>: <code>0&#46;0</code> → <code>0&#46;7</code>"
    assert temperature in lines


def test_foreign_text_stays_text(hostile: Comparison, sides: Sides) -> None:
    base, _ = sides
    strange = ComparedVersion("head", HOSTILE, prompts={HOSTILE: HOSTILE})
    piece = {"base_role": HOSTILE, "head_role": HOSTILE, "pieces": [["-", HOSTILE], ["+", HOSTILE * 2]]}
    prompt = {"name": HOSTILE, "status": "changed", "messages": [piece], "parameters": [], "variables": []}
    text = write_comment(hostile, base, strange, [prompt])
    check_harmless(text)
    assert "&#64;octocat" in text
    for sign in "\x00\x1b\u202e\ud800":
        assert sign not in text
    widths = {len(re.findall(r"(?<!\\)\|", line)) for line in text.splitlines() if "octocat" in line and line[0] == "|"}
    assert widths <= {4, 5, 7, 8, 9}
    text.encode()


def test_it_stays_below_the_limit(comparing: Comparing, sides: Sides) -> None:
    answer = "字|" * 5_000  # a sign of several bytes, and one that is escaped

    def long(records: list[dict[str, Any]], f1: float) -> list[dict[str, Any]]:
        scores = {"f1": f1, "decline_accuracy": f1}
        changes = {"answer": answer, "question": answer, "scores": scores, "tags": [answer]}
        return [record | changes | {"id": f"{record['id']}-{answer}"} for record in records]

    found = comparing(long(ask(seed=1, cases=1000), 1.0), long(ask(seed=1, cases=1000), 0.0))
    prompt = {
        "name": answer,
        "status": "changed",
        "messages": [],
        "parameters": [{"name": answer, "base": 1, "head": 2}] * 2000,
    }
    text = write_comment(found, *sides, [prompt])
    assert len(text.encode()) <= LIMIT < 65_536
    assert text.startswith("## ✕ Worse: f1, decline&#95;accuracy\n")
    assert "**Worst 3**, of 1000 broken\n" in text
    assert "997 more broken" in text
    assert "more are in the report." in text
    assert "1 sections did not fit and are in the report." in text
    check_harmless(text)


def opened(text: str, word: str) -> list[list[str]]:
    """Cells of the rows of the table below **Worst** or **Best**."""
    table = text.split(f"**{word} ", 1)[1].split("\n\n")[1]
    return [cells(line) for line in table.splitlines()[2:]]


def scored(f1: dict[str, float]) -> list[dict[str, Any]]:
    records = [one for one in ask(seed=1) if "f1" in one["scores"]]
    scores = {one["id"]: f1.get(one["id"], 0.9) for one in records}
    return [one | {"answer": f"f1 is {scores[one['id']]}", "scores": {"f1": scores[one["id"]]}} for one in records]


def test_the_three_worst_and_the_three_best_come_with_both_answers(comparing: Comparing, sides: Sides) -> None:
    ids = [one["id"] for one in scored({})]
    base = scored(dict(zip(ids[:8], (0.9, 0.9, 0.9, 0.9, 0.1, 0.2, 0.3, 0.4), strict=True)))
    head = scored(dict(zip(ids[:8], (0.3, 0.2, 0.1, 0.4, 0.8, 0.8, 0.8, 0.8), strict=True)))
    text = write_comment(comparing(base, head), *sides)
    worst, best = opened(text, "Worst"), opened(text, "Best")
    assert [row[0] for row in worst] == [f"<code>{ids[place]}</code>" for place in (2, 1, 0)]
    assert [row[0] for row in best] == [f"<code>{ids[place]}</code>" for place in (4, 5, 6)]
    assert (worst[0][3], worst[0][4]) == ("<code>f1 is 0&#46;9</code>", "<code>f1 is 0&#46;1</code>")
    assert (worst[0][5], best[0][5]) == ("✕ <code>f1</code> 0.9 → 0.1", "✓ <code>f1</code> 0.1 → 0.8")
    assert "<summary>1 more broken</summary>" in text
    assert "<summary>1 more fixed</summary>" in text
