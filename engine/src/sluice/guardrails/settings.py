"""config/guardrails.yaml: checks for questions, passages and answers, and the action on a finding."""

from __future__ import annotations

from typing import Any, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from sluice.core.extras import is_left_out
from sluice.core.removed import replacement
from sluice.core.settings import Settings, nearest
from sluice.guardrails.check import CHECKS, Action

# A passage is taken or left; a question cannot be asked again by anybody but its author.
_ACTIONS: dict[str, tuple[Action, ...]] = {
    "input": ("block", "redact", "annotate"),
    "passages": ("drop", "annotate"),
    "output": ("block", "redact", "annotate", "reask"),
}


# What happens to a text that fails, in guardrails-ai's words.
_ON_FAIL: dict[str, Action] = {
    "exception": "block",
    "refrain": "block",
    "fix": "redact",
    "filter": "drop",
    "reask": "reask",
    "noop": "annotate",
}


class CheckSettings(Settings):
    """One check of a stage. A name with a slash is that of a validator registered with guardrails-ai.

    `reask` asks the model once more and refuses a second failure. `whole`: a validator is shown whole answers.
    """

    check: str
    action: Action
    whole: bool = False
    options: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _in_words_of_the_library(cls, read: Any) -> Any:
        if not isinstance(read, dict) or "on_fail" not in read:
            return read
        word = read["on_fail"]
        if "action" in read or word not in _ON_FAIL:
            raise ValueError(f"on_fail: {word!r}: in place of action, one of {', '.join(_ON_FAIL)}")
        return {key: value for key, value in read.items() if key != "on_fail"} | {"action": _ON_FAIL[word]}

    @field_validator("check")
    @classmethod
    def _known(cls, name: str) -> str:
        if "/" not in name and name not in CHECKS:
            hint = replacement(f"guardrails.yaml: {name}") or nearest(name, list(CHECKS))
            raise ValueError(f"no check {name!r}{hint}; known: {', '.join(sorted(CHECKS))}")
        return name

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.external:  # who builds the guards tells: importing the library takes seconds
            return self
        entry = CHECKS[self.check]
        if self.whole:
            raise ValueError(f"{self.check}: whole is for validators of guardrails-ai")
        if self.action not in entry.actions:
            raise ValueError(f"{self.check} cannot {self.action}; use {' or '.join(entry.actions)}")
        try:
            self.parsed()
        except ValidationError as error:
            known = list(entry.options_model.model_fields)
            faults = [
                f"{'.'.join(map(str, f['loc']))}: "
                + (f"unknown option{nearest(str(f['loc'][-1]), known)}" if f["type"] == "extra_forbidden" else f["msg"])
                for f in error.errors()
            ]
            raise ValueError(f"options of {self.check}: {'; '.join(faults)}") from None
        return self

    def parsed(self) -> Settings:
        return CHECKS[self.check].options_model.model_validate(self.options)

    @property
    def external(self) -> bool:
        return "/" in self.check

    @property
    def whole_answers(self) -> bool:
        return self.whole or self.asks("whole_answers")

    def asks(self, what: str) -> bool:
        """Return whether the check's class has the attribute `what` set, such as `needs_model`."""
        return not self.external and bool(getattr(CHECKS[self.check], what))


class GuardrailSettings(Settings):
    """The checks of each stage. `timeout_seconds` is for all checks of a stage together.

    A listed stage mustn't be empty: no check at all would look like one that passed.
    """

    timeout_seconds: float = Field(2.0, gt=0, le=60)
    input: tuple[CheckSettings, ...]
    passages: tuple[CheckSettings, ...] = ()
    output: tuple[CheckSettings, ...]

    @property
    def whole_output(self) -> bool:
        return any(entry.whole_answers for entry in self.output)

    @property
    def needs_model(self) -> bool:
        return any(entry.asks("needs_model") for entry in (*self.input, *self.passages, *self.output))

    @field_validator("input", "passages", "output", mode="before")
    @classmethod
    def _of_parts_that_are_on(cls, stage: Any) -> Any:
        if not isinstance(stage, list):
            return stage
        return [one for one in stage if not (isinstance(one, dict) and is_left_out("checks", str(one.get("check"))))]

    @model_validator(mode="after")
    def _where_they_fit(self) -> Self:
        for name, allowed in _ACTIONS.items():
            for entry in getattr(self, name):
                if entry.action not in allowed:
                    raise ValueError(f"{name}: {entry.check} cannot {entry.action} there; use {' or '.join(allowed)}")
                if entry.whole_answers and name != "output":
                    raise ValueError(f"{name}: {entry.check} is a check of whole answers; list it under output")
        return self

    @field_validator("input", "passages", "output")
    @classmethod
    def _some_and_once(cls, stage: tuple[CheckSettings, ...]) -> tuple[CheckSettings, ...]:
        if not stage:
            raise ValueError("no check is listed")
        names = [entry.check for entry in stage]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"listed twice: {', '.join(twice)}")
        return stage
