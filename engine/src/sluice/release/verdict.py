"""What a gate decided, as a manifest keeps it. Apart from the gates, of which what serves a release knows nothing."""

from __future__ import annotations

from collections.abc import Iterable

from sluice.core.settings import Settings


class Verdict(Settings):
    """What one gate decided. `figure` and `reference` are the raw measurements, `limit` is the gate's."""

    gate: str
    metric: str
    passed: bool
    figure: float | None
    limit: float | None
    reference: float | None
    samples: int
    reason: str
    cases: tuple[str, ...] = ()

    @classmethod
    def unjudged(cls, gate: str, reason: str) -> Verdict:
        """A refusal because nothing was measured."""
        return cls(
            gate=gate, metric="", passed=False, figure=None, limit=None, reference=None, samples=0, reason=reason
        )


def reason_of(verdicts: Iterable[Verdict]) -> str:
    """Why they do not pass: first the gates that measured something, then those that could not. Empty when all do."""
    failed = [verdict for verdict in verdicts if not verdict.passed]
    return "; ".join(verdict.reason for verdict in sorted(failed, key=lambda one: one.figure is None))
