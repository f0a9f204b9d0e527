"""Proposes a first set of rows about the corpus, split by document. No row counts before a person has read it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest

from sluice.core.errors import SluiceError
from sluice.core.workspace import Workspace
from sluice.data.near_duplicates import repeats_across, repeats_within
from sluice.data.privacy import PrivacyPolicy
from sluice.data.rows import EarlierMessage, Row, load_corpus
from sluice.extras.datakit.drafts import Draft, fault, passages, sha256, templates, unsaid
from sluice.extras.datakit.proposals import SIDES, Proposal, Proposals
from sluice.extras.datakit.teacher import ask_teacher

_EVAL_SHARE = 0.4
_UNANSWERED_SHARE = 1 / 3
_EVERY = 3  # as often a draft is asked behind the one before it
_INTRO = "Questions about the corpus, written by {}, with the passage of each."


def propose(workspace: Workspace, known: Mapping[str, Sequence[Row]], count: int, policy: PrivacyPolicy) -> Proposals:
    """Return new rows, each with its side under `facts`.

    `known`: rows by side, refused ones too. They aren't asked again, and their documents stay on their side."""
    corpus = load_corpus(workspace.data / "corpus")
    documents = sorted((one for one in corpus if one.tenant is None), key=lambda one: sha256(one.id))
    before = {row.id: row for side in known.values() for row in side}
    written = ask_teacher(workspace, documents, count + len(before))
    found = Proposals("start", "A first set of rows", _INTRO.format("templates" if written is None else "the teacher"))
    if written is None:
        written = [draft for one in documents for draft in templates(one)]
    texts = [passage.text.casefold() for one in documents for passage in passages(one)]
    drafts = [*written, *(draft for one in documents for draft in unsaid(one, texts))]
    whys = [fault(draft, policy) for draft in drafts]
    for why in filter(None, whys):
        found.leave_out(why)
    made = [_proposal(*pair) for pair in _pairs(draft for draft, why in zip(drafts, whys, strict=True) if not why)]
    rows = [one.row for one in made]
    again = repeats_across(list(before.values()), rows).keys() | repeats_within(rows).keys()
    again |= {number for number, row in enumerate(rows) if row.id in before}  # a person changed its question
    fresh = [one for number, one in enumerate(made) if number not in again]
    least = round(count * _UNANSWERED_SHARE)
    declined = _in_turn(one for one in fresh if not one.row.answerable)[:least]
    answered = _in_turn(one for one in fresh if one.row.answerable)[: count - least]
    mixed = [one for three in zip_longest(answered[::2], answered[1::2], declined) for one in three if one]
    found.proposals = _split(mixed, {name: side for side in known for row in known[side] for name in row.doc_ids})
    found.leave_out("nearly another question", len(again) + len(mixed) - len(found.proposals))
    if not found.proposals and not before:
        remedy = "put a provider into the role `teacher` of config/providers.yaml, or add documents to data/corpus"
        raise SluiceError("the documents of data/corpus propose no question", remedy=remedy)
    return found


def _pairs(drafts: Iterable[Draft]) -> Iterator[tuple[Draft, Draft | None]]:
    """Yield drafts, some with the draft of the same kind that they follow."""
    before: list[Draft] = []
    for draft in drafts:
        alike = before and (before[-1].document.id, before[-1].tag) == (draft.document.id, draft.tag)
        before = [*before, draft] if alike else [draft]
        follows = draft.answer and draft.follow_up and len(before) % _EVERY == 0
        yield draft, before[-2] if follows else None


def _proposal(draft: Draft, before: Draft | None) -> Proposal:
    document = draft.document
    history = [EarlierMessage(role="user", content=before.question)] if before else []
    history += [EarlierMessage(role="assistant", content=before.answer)] if before else []
    row = Row(
        id=f"s-{sha256(f'{document.id} {draft.question}')[:12]}",
        question=draft.follow_up if before else draft.question,
        answers=(draft.answer,) if draft.answer else (),
        doc_ids=(document.id,) if draft.answer else (),
        tags=(draft.tag, *(["second-turn"] if before else [])),
        provenance=draft.provenance,
        history=tuple(history),
    )
    return Proposal(row, {"document": document.id, "title": document.title}, draft.passage)


def _in_turn(proposals: Iterable[Proposal]) -> list[Proposal]:
    """Order proposals so that each document has one before any has two, the sides mixed."""
    of: defaultdict[object, list[Proposal]] = defaultdict(list)
    for one in proposals:
        of[one.facts["document"]].append(one)
    return [one for turn in zip_longest(*of.values()) for one in turn if one]


def _split(proposals: Sequence[Proposal], sides: Mapping[str, str]) -> list[Proposal]:
    """Give each document a side: eval, whenever that has less than its share of the rows. Those with the most rows come
    first, equals by the digest of their id. What eval asks nearly as train does is left out."""
    counts = Counter(str(one.facts["document"]) for one in proposals)
    taken = Counter[str]()
    for name in sorted(counts, key=lambda name: (-counts[name], sha256(name))):
        less = taken["eval"] < _EVAL_SHARE * taken.total()
        side = (sides := {name: "eval" if less else "train", **sides})[name]
        taken[side] += counts[name]
    placed = [replace(one, facts={"side": sides[str(one.facts["document"])], **one.facts}) for one in proposals]
    train, measured = ([one for one in placed if one.facts["side"] == side] for side in SIDES)
    leaks = repeats_across([one.row for one in train], [one.row for one in measured])
    left_out = {measured[number].row.id for number in leaks}
    return [one for one in placed if one.row.id not in left_out]
