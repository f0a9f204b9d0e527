"""The shape of a check, and the registry of all checks: those in checks/, in a folder of that name of an extra, and a
fork's own in src/assistant/guardrails/.

A check is one class with `@check`. It says what it finds; what is done about its findings (block, redact, annotate, …)
is decided in config/guardrails.yaml, which also gives its options.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args

from sluice.core.errors import SluiceError
from sluice.core.extras import packages
from sluice.core.registry import APPLICATION, Registry
from sluice.core.settings import Settings
from sluice.guardrails.context import CheckContext, CheckResources

Action = Literal["block", "redact", "annotate", "drop", "reask"]
WHOLE: tuple[Action, ...] = ("block", "drop", "annotate", "reask")
SPANS: tuple[Action, ...] = ("block", "redact", "drop", "annotate", "reask")


@dataclass(frozen=True)
class Finding:
    """A fault at text[start:end]. `reason` is a code, `<check>.<kind>`; it holds no text and is safe to log."""

    reason: str
    start: int
    end: int


class NoOptions(Settings):
    """The options of a check that has none."""


class Check:
    """A check: an instance for each stage of config/guardrails.yaml that lists it, made once and used by many threads.

    Attributes:
        name: as config/guardrails.yaml lists it, and the first part of its reasons.
        options_model: the model that its options are validated with.
        actions: those that make sense: a text that is too long cannot be redacted. `WHOLE`, without redaction, for a
            check that judges a text as a whole.
        whole_answers: it judges whole answers, not sentences: an answer is held back until it is whole.
        needs_model: it cannot do without the guard model.
        needs_embedder: it cannot do without the embedder.
    """

    name: str
    options_model: type[Settings] = NoOptions
    actions: tuple[Action, ...] = SPANS
    whole_answers: bool = False
    needs_model: bool = False
    needs_embedder: bool = False

    def __init__(self, options: Any, resources: CheckResources) -> None:
        """Prepares what does not depend on the text.

        Args:
            options: an instance of `options_model`.
            resources: what a check may use beside the text.

        Raises:
            SluiceError: `resources` lacks what the check needs.
        """
        self.options = options
        self.resources = resources

    def find(self, context: CheckContext) -> list[Finding]:
        """All findings in a text, without I/O."""
        raise NotImplementedError(f"{type(self).__name__} has no find")


class PatternCheck(Check):
    """A check that searches one reading of the text at a time; each finding is told once, where the text has it."""

    def find_in(self, text: str) -> list[Finding]:
        """All findings in one reading."""
        raise NotImplementedError(f"{type(self).__name__} has no find_in")

    def find(self, context: CheckContext) -> list[Finding]:
        found = {
            Finding(each.reason, *reading.original(each.start, each.end)): None
            for reading in context.readings
            for each in self.find_in(reading.text)
        }
        return list(found)


CHECKS: Registry[type[Check]] = Registry(
    "check", "sluice.guardrails.checks", *packages("checks"), f"{APPLICATION}.guardrails"
)
C = TypeVar("C", bound=type[Check])


def check(cls: C) -> C:
    """Class decorator: config/guardrails.yaml may list this subclass of `Check`.

    Raises:
        SluiceError: it has no name, its name is taken, or it allows an action that does not exist.
    """
    if not getattr(cls, "name", ""):
        raise SluiceError(f"{cls.__module__}: {cls.__name__} does not say its name")
    if unknown := set(cls.actions) - set(get_args(Action)):
        raise SluiceError(f"{cls.__module__}: {cls.__name__}: actions: {', '.join(sorted(unknown))}: not an action")
    CHECKS.add(cls.name, cls, cls.__module__)
    return cls
