"""config/guardrails.yaml: checks for questions, passages and answers, and the action on a finding."""

from __future__ import annotations

from typing import Any, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from sluice.core.settings import Settings, nearest
from sluice.guardrails.check import CHECKS, Action

# A passage is taken or left; a question cannot be asked again by anybody but its author.
_ACTIONS: dict[str, tuple[Action, ...]] = {
    "input": ("block", "redact", "annotate"),
    "passages": ("drop", "annotate"),
    "output": ("block", "redact", "annotate", "reask"),
}


class CheckSettings(Settings):
    """One check of a stage. `block` refuses the text, `redact` replaces what was found in it, `annotate` only notes it,
    `drop` leaves a passage out, `reask` asks the model once more and refuses a second failure."""

    check: str
    action: Action
    options: dict[str, Any] = Field(default_factory=dict)

    @field_validator("check")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in CHECKS:
            raise ValueError(f"no check {name!r}{nearest(name, list(CHECKS))}; known: {', '.join(sorted(CHECKS))}")
        return name

    @model_validator(mode="after")
    def _fits(self) -> Self:
        entry = CHECKS[self.check]
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
        """The options as the check's own typed object."""
        return CHECKS[self.check].options_model.model_validate(self.options)


class GuardrailSettings(Settings):
    """An empty stage is an error: no check at all must not look like a check that passed. Only `passages` may be left
    out, as it was in the first releases. `timeout_seconds`: for all checks of a stage together, on one text."""

    timeout_seconds: float = Field(2.0, gt=0, le=60)
    input: tuple[CheckSettings, ...]
    passages: tuple[CheckSettings, ...] = ()
    output: tuple[CheckSettings, ...]

    @property
    def whole_output(self) -> bool:
        """Whether an answer is held back until it is whole."""
        return any(CHECKS[entry.check].whole_answers for entry in self.output)

    @property
    def needs_model(self) -> bool:
        """Whether a check needs the guard model."""
        return any(CHECKS[entry.check].needs_model for entry in (*self.input, *self.passages, *self.output))

    @property
    def needs_embedder(self) -> bool:
        """Whether a check needs the embedder."""
        return any(CHECKS[entry.check].needs_embedder for entry in (*self.input, *self.passages, *self.output))

    @model_validator(mode="after")
    def _where_they_fit(self) -> Self:
        for name, allowed in _ACTIONS.items():
            for entry in getattr(self, name):
                if entry.action not in allowed:
                    raise ValueError(f"{name}: {entry.check} cannot {entry.action} there; use {' or '.join(allowed)}")
                if CHECKS[entry.check].whole_answers and name != "output":
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
