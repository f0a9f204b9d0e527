"""The base error. `sluice` catches it once, in cli.main, and prints it for people."""

from __future__ import annotations

import difflib
from collections.abc import Sequence


class SluiceError(Exception):
    """Something a person can fix.

    Printed without a traceback: `message` names the location and the fault, `remedy` says what to do next."""

    exit_code = 1

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}\n  -> {self.remedy}" if self.remedy else self.message


class ValidationErrors(SluiceError):
    """Several faults found in one pass; each is `location: fault`, all are shown at once."""

    def __init__(self, what: str, faults: Sequence[str], *, remedy: str = "") -> None:
        self.faults = list(faults)
        noun = "fault" if len(self.faults) == 1 else "faults"
        super().__init__(
            f"{what}: {len(self.faults)} {noun}\n" + "\n".join(f"  {f}" for f in self.faults), remedy=remedy
        )


class GateFailed(SluiceError):
    """An evaluation gate failed: the change itself is refused."""

    exit_code = 3


class CanaryStopped(SluiceError):
    """A canary step failed: the weight is back at 0, the champion stays live."""


def nearest(word: str, known: list[str]) -> str:
    found = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f" (did you mean {found[0]!r}?)" if found else ""
