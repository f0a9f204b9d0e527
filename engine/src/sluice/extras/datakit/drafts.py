"""Drafts of rows: the checks that each must pass, and templates that find questions in the form of statements. They
are English; of other languages they find names that a list explains, and headings. A person reads every draft."""

from __future__ import annotations

import hashlib
import re
from bisect import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sluice.data import privacy
from sluice.data.near_duplicates import words
from sluice.data.privacy import PrivacyPolicy
from sluice.data.row_rules import occurs
from sluice.data.rows import Document, Provenance
from sluice.retrieval.markdown_chunks import Section, blocks, sections, statements

_LIMIT = 200  # words and marks of a passage
_SHOWN = 1200  # characters
_FEWEST_IN_QUESTION, _MOST_IN_ANSWER = 3, 40
_POINTS_ELSEWHERE = re.compile(
    r"\b(?:(?:the|given) (?:passage|paragraph|excerpt|text|article)|this|that|these|those|it|above|below)\b", re.I
)


@dataclass(frozen=True)
class Draft:
    """A question about a passage, and its answer, "" if the documents don't hold one. `follow_up` asks the same behind
    the draft before, or is ""."""

    document: Document
    passage: str
    question: str
    answer: str
    follow_up: str
    tag: str
    provenance: Provenance


def passages(document: Document) -> list[Section]:
    return sections(document.text, _LIMIT)


def fault(draft: Draft, policy: PrivacyPolicy) -> str:
    """Return the reason to refuse a draft, or ""."""
    if draft.answer and not occurs(draft.answer, draft.passage):
        return "the answer is no span of its passage"
    if len(draft.answer.split()) > _MOST_IN_ANSWER:
        return f"the answer is longer than {_MOST_IN_ANSWER} words"
    if len(words(draft.question)) < _FEWEST_IN_QUESTION and draft.tag != "terse":
        return "the question is too short"
    if occurs(draft.answer, draft.question):
        return "the question holds its answer"
    if _POINTS_ELSEWHERE.search(draft.question):
        return "the question points at its passage"
    found = next(privacy.findings(f"{draft.question}\n{draft.answer}", policy), None)
    return "personal data or secret" if found else ""


@dataclass(frozen=True)
class _Template:
    """`pattern` fits a statement: its group x is asked about, y is the answer."""

    pattern: re.Pattern[str]
    question: str
    follow_up: str
    tag: str


def _template(pattern: str, question: str, follow_up: str = "And {x}?", tag: str = "definition") -> _Template:
    return _Template(re.compile(rf"(?:[-*+] )?{pattern}(?:[.:]?$|\.\s)", re.IGNORECASE), question, follow_up, tag)


_NO_SUBJECT = (
    "this|that|these|those|there|it|its|they|he|she|we|our|you|your|which|what|here|each|both|all|one|note|if|when|since|"
    "by|in|as"
)
_SUBJECT = rf"(?!(?:{_NO_SUBJECT})\b)(?P<x>[^,;:().]{{2,60}}?)"
_PHRASE = "(?P<x>[^,;:.]{6,70}?)"
_ANSWER = "(?P<y>.+?)"
_HOW = ("How do I {x}?", "And how do I {x}?", "how-to")
_TEMPLATES = (  # the first that fits a statement asks about it
    _template(rf"[`*_]+(?P<x>[\w./@-]+)[^`*_]*[`*_]+(?: ?[:–—]| -) {_ANSWER}", "What is {x} in {heading}?"),
    _template(rf"{_SUBJECT} defaults to {_ANSWER}", "What does {x} default to?"),
    _template(rf"(?P<x>the default [^,;:().]{{2,50}}?) is {_ANSWER}", "What is {x}?"),
    _template(rf"(?:to|(?:if|when) you (?:want|need|wish|have) to) {_PHRASE}, {_ANSWER}", *_HOW),
    _template(rf"you (?:can|may|must|should) (?:also )?{_PHRASE},? (?P<y>(?:by|with|using|via|through) .+?)", *_HOW),
    _template(rf"(?P<x>(?:if|when) you[^,;:.]{{6,80}}), {_ANSWER}", "What do I do {x}?", tag="how-to"),
    _template(rf"(?P<x>(?:if|when) [^,;:.]{{6,80}}), (?:then )?{_ANSWER}", "What happens {x}?", tag="how-to"),
    _template(rf"{_SUBJECT} (?:is|are) (?P<y>(?:an?|the|one of) .+?)", "What is {x}?"),
    _template(rf"{_SUBJECT} (?:is|are) used (?P<y>(?:to|for) .+?)", "What is {x} used for?"),
)
_HEADING = _template("", "{x}?", tag="terse")
# Asked about a heading, unless a passage that names it says something of the kind.
_UNSAID = (
    ("How much memory does {x} need?", "memory|bytes"),
    ("Since which version is there {x}?", "version|since|release|added|introduced"),
    ("Which port does {x} use?", "port"),
    ("Who maintains {x}?", "maintain|author|team|owner"),
    ("When will {x} be removed?", "deprecat|remov|retire|end of"),
    ("How do I turn off {x}?", "disable|turn|false|without|switch"),
    ("Is there a fee for {x}?", "cost|price|fee|free|charge"),
    ("Whom do I ask about {x}?", "contact|call|mail|support|phone"),
)
_NO_NAME = re.compile(r"\w+ing\b|(?:how|what|why|when|where|who|can|do|is|are)\b|.*\?$", re.IGNORECASE)
_LINK = re.compile(r"!?\[([^\]]*)\](?:\([^)]*\)|\[[^\]]*\])")
_MARKS = re.compile(r"[`*]|\{\w+\}(?=`)|(?<!\w)_+|_+(?!\w)|<[^>]*>")
_ITEM = re.compile(r"\n(?=[-*+] )")
_OPENING = re.compile(r"^(?:If|When|The|An?)\b")
_TOLD = re.compile(r"(?!```|:::|<|.*:$)\S+(?:\s+\S+){4}")  # five words, no block or introduction
_MINE = {"you are": "I am", "you're": "I'm", "you've": "I've", "your": "my", "you": "I"}
_YOURS = re.compile(r"\byou(?: are|'re|'ve|r)?\b")


def templates(document: Document) -> Iterator[Draft]:
    """Yield drafts from the statements of a document, then one for each heading below which nothing was asked."""
    headings = [(block.start, _plain(block.heading)) for block in blocks(document.text) if block.level]
    unasked: dict[str, Draft | None] = {}
    for passage in passages(document):
        for at, statement in statements(passage.text):
            place = bisect(headings, passage.start + at, key=lambda one: one[0])
            heading = headings[place - 1][1] if place else document.title
            for part in _ITEM.split(statement.partition("\n```")[0]):  # a short list is one statement
                flat = " ".join(part.split())
                matches = ((one, match) for one in _TEMPLATES if (match := one.pattern.match(flat)))
                if found := next(matches, None):
                    template, match = found
                    yield _draft(document, passage.text, template, match["x"], match["y"], heading)
                    unasked[heading] = None
                elif heading not in unasked and _TOLD.match(statement):
                    unasked[heading] = _draft(document, passage.text, _HEADING, _topic(heading, document), statement)
    yield from filter(None, unasked.values())


def unsaid(document: Document, corpus: Sequence[str]) -> Iterator[Draft]:
    """Yield questions about the headings that are names, unless a passage of the corpus seems to answer them."""
    found = [(block.start, _plain(block.heading)) for block in blocks(document.text) if block.level]
    for number, (start, name) in (*enumerate(found, len(document.id)), *enumerate(found, len(document.id) + 3)):
        question, cue = _UNSAID[number % len(_UNSAID)]
        told = (text for text in corpus if name.casefold() in text and re.search(cue, text))
        if name and len(name.split()) <= 4 and not _NO_NAME.match(name) and not any(told):
            template = _template("", question, tag="unanswered")
            yield _draft(document, document.text[start : start + _SHOWN], template, _topic(name, document), "")


def _topic(heading: str, document: Document) -> str:
    """Return what a heading is about: `Cookies` says it with the title of its document."""
    names_itself = " " in heading or re.search(r"\w[A-Z].*[a-z]|[._-]", heading) or heading == document.title
    return heading if names_itself else f"{document.title} {heading}"


def _draft(document: Document, passage: str, template: _Template, x: str, answer: str, heading: str = "") -> Draft:
    about = _OPENING.sub(lambda found: found[0].lower(), _plain(x).rstrip("?"), count=1)
    said = {"x": _YOURS.sub(lambda found: _MINE[found[0]], about.replace("’", "'")), "heading": heading}
    question, follow_up = template.question.format(**said), template.follow_up.format(**said)
    made = Provenance(teacher="template", prompt=template.question, document=sha256(document.text), seed=0)
    return Draft(document, passage, question, answer, follow_up, template.tag, made)


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def _plain(text: str) -> str:
    return _MARKS.sub("", _LINK.sub(r"\1", text)).strip()
