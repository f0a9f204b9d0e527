"""Topics that the service is not for, each told by a few example questions: what is near to one is of the topic."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from sluice.core.settings import Settings
from sluice.guardrails.check import Find, Finding
from sluice.guardrails.seen import Kit, Seen

Name = Annotated[str, Field(pattern=r"^[a-z][a-z_]*$")]


class Topic(Settings):
    """`min_similarity`: cosine to the nearest example from which a text is of the topic."""

    examples: tuple[str, ...] = Field(min_length=1)
    min_similarity: float = Field(0.6, gt=0, le=1)


class Options(Settings):
    topics: dict[Name, Topic] = Field(min_length=1, description="topics to find, by name")


def make(options: Options, kit: Kit) -> Find:
    embed = kit.require_embed("topic")
    examples = {name: embed(topic.examples) for name, topic in options.topics.items()}

    def find(seen: Seen) -> list[Finding]:
        """One finding for each topic, over the whole text."""
        return [
            Finding(f"topic.{name}", 0, len(seen.text))
            for name, topic in options.topics.items()
            if float((examples[name] @ seen.vector).max()) >= topic.min_similarity
        ]

    return find
