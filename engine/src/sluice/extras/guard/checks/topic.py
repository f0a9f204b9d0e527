"""Topics that the service refuses, each defined by a few example questions; similar questions belong to the topic."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from sluice.core.settings import Settings
from sluice.guardrails.check import WHOLE, Check, CheckContext, CheckResources, Finding, check

Name = Annotated[str, Field(pattern=r"^[a-z][a-z_]*$")]


class TopicExamples(Settings):
    """`min_similarity`: cosine to the nearest example from which a text is of the topic."""

    examples: tuple[str, ...] = Field(min_length=1)
    min_similarity: float = Field(0.6, gt=0, le=1)


class TopicOptions(Settings):
    topics: dict[Name, TopicExamples] = Field(min_length=1, description="topics to find, by name")


@check
class TopicCheck(Check):
    name = "topic"
    options_model = TopicOptions
    actions = WHOLE
    needs_embedder = True

    def __init__(self, options: TopicOptions, resources: CheckResources) -> None:
        super().__init__(options, resources)
        embed = resources.require_embed("topic")
        self._examples = {name: embed(topic.examples) for name, topic in options.topics.items()}

    def find(self, context: CheckContext) -> list[Finding]:
        """One finding for each topic, over the whole text."""
        return [
            Finding(f"topic.{name}", 0, len(context.text))
            for name, topic in self.options.topics.items()
            if float((self._examples[name] @ context.vector).max()) >= topic.min_similarity
        ]
