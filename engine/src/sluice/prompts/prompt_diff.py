"""Differences between two versions of the prompts, for the terminal and the report of an evaluation."""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from pydantic_core import to_jsonable_python

from sluice.prompts.prompt import Message, Prompt

Status = Literal["added", "removed", "changed", "same"]
_WORD = re.compile(r"\{\{\s*\w+\s*\}\}|\w+|\s|[^\w\s]")


class TextPiece(NamedTuple):
    """A stretch of text: ` ` stands in both versions, `-` only in the base, `+` only in the head."""

    kind: Literal[" ", "-", "+"]
    text: str


@dataclass(frozen=True)
class MessageChange:
    """One message. `base_role` is None when it was added, `head_role` when it was removed."""

    base_role: str | None
    head_role: str | None
    pieces: tuple[TextPiece, ...]

    @property
    def same(self) -> bool:
        return self.base_role == self.head_role and all(piece.kind == " " for piece in self.pieces)


@dataclass(frozen=True)
class ValueChange:
    """A value by its key in the file. None: it is not there. `order` stands for the order of the variables."""

    name: str
    base: Any
    head: Any


@dataclass(frozen=True)
class PromptChange:
    """`base` and `head` are digests, None without a prompt; `unseen` are changed keys that the model doesn't see."""

    name: str
    status: Status
    base: str | None
    head: str | None
    messages: tuple[MessageChange, ...]
    parameters: tuple[ValueChange, ...]
    variables: tuple[ValueChange, ...]
    unseen: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        found: dict[str, Any] = to_jsonable_python(self)
        return found


def diff_prompts(base: Mapping[str, Prompt], head: Mapping[str, Prompt]) -> list[PromptChange]:
    return [_compare(name, base.get(name), head.get(name)) for name in sorted({*base, *head})]


def word_diff(base: str, head: str) -> tuple[TextPiece, ...]:
    """Return the two texts as one, by words and signs. Blanks alone hold no changes apart."""
    old, new = _WORD.findall(base), _WORD.findall(head)
    codes = difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes()

    def stays(code: tuple[str, int, int, int, int]) -> bool:
        kind, start, end, _, _ = code
        text = "".join(old[start:end])
        blank = text.isspace() and "\n" not in text
        return kind == "equal" and (not blank or code in (codes[0], codes[-1]))

    pieces: list[TextPiece] = []
    for same, group in itertools.groupby(codes, stays):
        spans = list(group)
        before = "".join(old[spans[0][1] : spans[-1][2]])
        after = "".join(new[spans[0][3] : spans[-1][4]])
        pieces += [TextPiece(" ", before)] if same else [TextPiece("-", before), TextPiece("+", after)]
    return tuple(piece for piece in pieces if piece.text)


def _compare(name: str, base: Prompt | None, head: Prompt | None) -> PromptChange:
    old, new = (prompt.digest if prompt else None for prompt in (base, head))
    before, after = _variables(base), _variables(head)
    variables = list(_values(before, after))
    if list(before) != list(after) and before.keys() == after.keys():  # the digest is over them in their order
        variables.append(ValueChange("order", list(before), list(after)))
    return PromptChange(
        name=name,
        status="added" if old is None else "removed" if new is None else "same" if old == new else "changed",
        base=old,
        head=new,
        messages=tuple(_messages(base.messages if base else (), head.messages if head else ())),
        parameters=tuple(_values(_parameters(base), _parameters(head))),
        variables=tuple(variables),
        unseen=tuple(value.name for value in _values(_notes(base), _notes(head)) if base and head),
    )


def _messages(base: Sequence[Message], head: Sequence[Message]) -> Iterator[MessageChange]:
    old, new = [(m.role, m.content) for m in base], [(m.role, m.content) for m in head]
    for _, a, b, c, d in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        for (old_role, before), (new_role, after) in itertools.zip_longest(old[a:b], new[c:d], fillvalue=(None, "")):
            yield MessageChange(old_role, new_role, word_diff(before, after))


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


def _notes(prompt: Prompt | None) -> dict[str, Any]:
    if prompt is None:
        return {}
    described = {variable.name: variable.description for variable in prompt.variables}
    return {"description": prompt.description, "descriptions of variables": described, "testData": prompt.test_data}
