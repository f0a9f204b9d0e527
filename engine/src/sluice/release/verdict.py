"""What a gate decided, as a manifest keeps it. Apart from the gates, of which what serves a release knows nothing."""

from __future__ import annotations

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
        """A refusal because nothing was measured.

        Args:
            gate: Its name.
            reason: Why there is no figure.
        """
        return cls(
            gate=gate, metric="", passed=False, figure=None, limit=None, reference=None, samples=0, reason=reason
        )
