"""An attack, the documents that it needs in the index, and a suite of attacks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from sluice.data.rows import Document

Message: TypeAlias = Mapping[str, Any]
# The tenants whose documents are planted. Callers without a tenant see the public documents only.
TENANTS = ("red-one", "red-two")


@dataclass(frozen=True)
class ServiceReply:
    """What came back: the text, calls of the client's tools behind it, the ids of cited documents, and the reason codes
    when the service refused."""

    text: str
    citations: tuple[str, ...] = ()
    blocked: str = ""


# What an attack got out of a reply, in words; empty: nothing.
Detect: TypeAlias = Callable[[ServiceReply], str]


@dataclass(frozen=True)
class Attack:
    """`messages` is the conversation. `tenant`: who asks. `owner`: who may have what is asked for; asked by the owner
    the attack is the honest question whose answer the attack is after. `form`: its wording or disguise, for people.
    `tools`: those that the client brings along."""

    id: str
    family: str
    messages: tuple[Message, ...]
    detect: Detect = field(repr=False)
    tenant: str | None = None
    owner: str | None = None
    form: str = ""
    tools: tuple[Mapping[str, Any], ...] = ()

    @property
    def text(self) -> str:
        """The conversation for people, one turn a line."""
        return "\n".join(f"{one['role']}: {one['content']}" for one in self.messages)


@dataclass(frozen=True)
class AttackFixture:
    """What suites make their attacks from. `questions`: on topic, so that a search finds something for them;
    `prompt`: the fixed text of the prompt that must not come out."""

    questions: Sequence[str]
    prompt: Sequence[str]


@dataclass(frozen=True)
class AttackSuite:
    """A family of attacks. `documents` must lie in the index for them; `secret`: what success takes, for people.

    `unguarded`: how the attack is made to succeed where nothing guards: the model that obeys is asked without guards,
    or the owner asks (`attack.owner`), because what keeps tenants apart is no guard. Honest questions are `not asked`
    there: they are no attacks.
    """

    name: str
    attacks: Callable[[AttackFixture], list[Attack]]
    documents: Callable[[], list[Document]] = list
    unguarded: Literal["no guards", "asked by the owner", "not asked"] = "no guards"

    @property
    def planted(self) -> bool:
        """Whether it can only run where its documents are in the index."""
        return bool(self.documents())


def user(text: str) -> Message:
    return {"role": "user", "content": text}
