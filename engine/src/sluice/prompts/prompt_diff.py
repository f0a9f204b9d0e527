"""Differences between two versions of the prompts: `diff_prompts(base, head)`. Pure: no input or output.

The terminal (`sluice prompts diff`) and the report of an evaluation both show what it finds.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

from sluice.prompts.prompt import Message, Prompt, Variable

Status = Literal["added", "removed", "changed", "same"]
_WORD = re.compile(r"\{\{\s*\w+\s*\}\}|\w+|\s|[^\w\s]")


class TextPiece(NamedTuple):
    """A stretch of text. `kind`: ` ` stands in both versions, `-` only in the base, `+` only in the head."""

    kind: Literal[" ", "-", "+"]
    text: str


@dataclass(frozen=True)
class MessageChange:
    """One message. `base_role` is None when it was added, `head_role` when it was removed.

    `pieces` without `+` are the base's text, without `-` the head's.
    """

    base_role: str | None
    head_role: str | None
    pieces: tuple[TextPiece, ...]

    @property
    def same(self) -> bool:
        return self.base_role == self.head_role and all(piece.kind == " " for piece in self.pieces)


@dataclass(frozen=True)
class ValueChange:
    """A value by its key in the file: `model`, a model parameter, or a variable. None: it is not there.

    Among the variables, `order` stands for their order.
    """

    name: str
    base: Any
    head: Any


@dataclass(frozen=True)
class PromptChange:
    """`same`: the digests are equal, so it is the same version, whatever was edited in the file.

    `base` and `head` are the digests, None where there is no such prompt. `messages` holds all messages of both, in
    order. `unseen`: keys that differ and that the model does not see.
    """

    name: str
    status: Status
    base: str | None
    head: str | None
    messages: tuple[MessageChange, ...]
    parameters: tuple[ValueChange, ...]
    variables: tuple[ValueChange, ...]
    unseen: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON, with the names of the fields."""
        messages = [{**asdict(m), "pieces": [list(piece) for piece in m.pieces]} for m in self.messages]
        lists = {name: list(value) for name, value in asdict(self).items() if isinstance(value, tuple)}
        return asdict(self) | lists | {"messages": messages}


def diff_prompts(base: Mapping[str, Prompt], head: Mapping[str, Prompt]) -> list[PromptChange]:
    """One change for every prompt of either side, by name; those that are the same version are among them."""
    return [_compare(name, base.get(name), head.get(name)) for name in sorted({*base, *head})]


def word_diff(base: str, head: str) -> tuple[TextPiece, ...]:
    """The two texts as one, by words and signs. A changed word is its old form and then its new one."""
    old, new = _WORD.findall(base), _WORD.findall(head)
    pieces: list[TextPiece] = []
    for kind, a, b, c, d in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind == "equal":
            pieces.append(TextPiece(" ", "".join(old[a:b])))
            continue
        pieces += [TextPiece("-", "".join(old[a:b])), TextPiece("+", "".join(new[c:d]))]
    return tuple(_joined(piece for piece in pieces if piece.text))


def _joined(pieces: Iterator[TextPiece]) -> Iterator[TextPiece]:
    """Changes that only blanks hold apart become one, so that a rewritten sentence reads as two sentences."""
    removed = added = gap = ""
    for kind, text in pieces:
        if kind == "-":
            removed, added, gap = removed + gap + text, added + gap, ""
        elif kind == "+":
            removed, added, gap = removed + gap, added + gap + text, ""
        elif (removed or added) and not gap and text.isspace() and "\n" not in text:
            gap = text
        else:
            yield from _change(removed, added)
            yield TextPiece(" ", gap + text)
            removed = added = gap = ""
    yield from _change(removed, added)
    if gap:
        yield TextPiece(" ", gap)


def _change(removed: str, added: str) -> Iterator[TextPiece]:
    if removed:
        yield TextPiece("-", removed)
    if added:
        yield TextPiece("+", added)


def _compare(name: str, base: Prompt | None, head: Prompt | None) -> PromptChange:
    return PromptChange(
        name=name,
        status=_status(base, head),
        base=base.digest if base else None,
        head=head.digest if head else None,
        messages=tuple(_messages(base.messages if base else (), head.messages if head else ())),
        parameters=tuple(_values(_parameters(base), _parameters(head))),
        variables=(*_values(_variables(base), _variables(head)), *_order(base, head)),
        unseen=tuple(_unseen(base, head)),
    )


def _status(base: Prompt | None, head: Prompt | None) -> Status:
    if base is None or head is None:
        return "added" if base is None else "removed"
    return "same" if base.digest == head.digest else "changed"


def _messages(base: Sequence[Message], head: Sequence[Message]) -> Iterator[MessageChange]:
    old, new = [(m.role, m.content) for m in base], [(m.role, m.content) for m in head]
    for _, a, b, c, d in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        paired = min(b - a, d - c)
        for (old_role, before), (new_role, after) in zip(old[a:b], new[c:d], strict=False):
            yield MessageChange(old_role, new_role, word_diff(before, after))
        for role, content in old[a + paired : b]:
            yield MessageChange(role, None, (TextPiece("-", content),))
        for role, content in new[c + paired : d]:
            yield MessageChange(None, role, (TextPiece("+", content),))


def _values(base: Mapping[str, Any], head: Mapping[str, Any]) -> Iterator[ValueChange]:
    for name in {**base, **head}:
        if base.get(name) != head.get(name):
            yield ValueChange(name, base.get(name), head.get(name))


def _parameters(prompt: Prompt | None) -> dict[str, Any]:
    if prompt is None:
        return {}
    return {"model": prompt.model, **prompt.parameters.model_dump(mode="json", by_alias=True)}


def _variables(prompt: Prompt | None) -> dict[str, Any]:
    return {v.name: {"type": v.type, "required": v.required} for v in prompt.variables} if prompt else {}


def _order(base: Prompt | None, head: Prompt | None) -> Iterator[ValueChange]:
    """The digest is over the variables in their order, so another order is another version: it must be seen."""
    old, new = list(_variables(base)), list(_variables(head))
    if old != new and sorted(old) == sorted(new):
        yield ValueChange("order", old, new)


def _unseen(base: Prompt | None, head: Prompt | None) -> Iterator[str]:
    if base is None or head is None:
        return
    if base.description != head.description:
        yield "description"
    if _descriptions(base.variables) != _descriptions(head.variables):
        yield "descriptions of variables"
    if base.test_data != head.test_data:
        yield "testData"


def _descriptions(variables: Sequence[Variable]) -> dict[str, str]:
    return {variable.name: variable.description for variable in variables}
