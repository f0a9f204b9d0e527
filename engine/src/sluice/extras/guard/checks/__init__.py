"""The checks of the extra: attacks, by the trained guard model, and refused topics, defined by a few questions each."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from sluice.core.settings import Settings
from sluice.guardrails.check import WHOLE, Check, CheckContext, CheckResources, Finding, check

# By how much the odds of an attack rise once one was refused in the same conversation: the guard finds some 95 of 100
# attacks, and refuses some 6 of 100 honest texts.
_RATIO = 16


class AttackOptions(Settings):
    threshold: float | None = Field(
        None, gt=0, lt=1, description="probability from which a text is an attack; default: the model's own"
    )


@check
class AttackCheck(Check):
    name = "attack"
    options_model = AttackOptions
    actions = WHOLE
    needs_model = True
    needs_embedder = True

    def __init__(self, options: AttackOptions, resources: CheckResources) -> None:
        super().__init__(options, resources)
        self._threshold = options.threshold or resources.require_model("attack").threshold
        resources.require_embed("attack")

    def find(self, context: CheckContext) -> list[Finding]:
        """Return at most one finding, over the whole text."""
        likely = context.attack >= self._threshold or (context.earlier and self._led_up(context) >= self._threshold)
        return [Finding("attack.likely", 0, len(context.text))] if likely else []

    def _led_up(self, context: CheckContext) -> float:
        """Return the probability that a question is an attack, read with the turns before it."""
        innocent = [text for text in context.earlier if context.of(text).attack < self._threshold]
        likely = max(context.attack, context.of("\n".join([*innocent, context.text])).attack)
        return likely if len(innocent) == len(context.earlier) else likely * _RATIO / (likely * _RATIO + 1 - likely)


Name = Annotated[str, Field(pattern=r"^[a-z][a-z_]*$")]


class TopicExamples(Settings):
    """`min_similarity`: least cosine to the nearest example for a text to be of the topic."""

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
        """Return one finding for each topic, over the whole text."""
        return [
            Finding(f"topic.{name}", 0, len(context.text))
            for name, topic in self.options.topics.items()
            if float((self._examples[name] @ context.vector).max()) >= topic.min_similarity
        ]
