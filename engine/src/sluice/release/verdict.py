"""Verdicts of gates, and judgement.json, which keeps them.

They aren't content: a release that is made and judged again, on another day or machine, has the same id."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import Field

from sluice.core.digests import canonical_json, digest_of
from sluice.core.settings import Settings

JUDGEMENT = "judgement.json"
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
ReleaseId = Annotated[str, Field(pattern=r"^r-[0-9a-f]{12}$")]


class Verdict(Settings):
    """The decision of one gate. `figure` and `reference` are raw measurements."""

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
        """Return a refusal because nothing was measured."""
        return cls(
            gate=gate, metric="", passed=False, figure=None, limit=None, reference=None, samples=0, reason=reason
        )


def reason_of(verdicts: Iterable[Verdict]) -> str:
    """Return why verdicts don't pass, gates that measured something first; empty if all pass."""
    failed = [verdict for verdict in verdicts if not verdict.passed]
    return "; ".join(verdict.reason for verdict in sorted(failed, key=lambda one: one.figure is None))


class EvaluationPin(Settings):
    cases_digest: str
    metrics: dict[str, float | None]


class Judgement(Settings):
    """judgement.json. `parent`: the release that it was judged against; `digest`: over all the rest."""

    release: ReleaseId
    digest: Sha256
    created: str
    commit: str
    machine: str = ""
    parent: ReleaseId | None
    evaluation: EvaluationPin
    gates: tuple[Verdict, ...]

    @property
    def refused_by(self) -> list[str]:
        return [verdict.gate for verdict in self.gates if not verdict.passed]

    def content_digest(self) -> str:
        return digest_of(self.model_dump(mode="json", exclude={"digest"}))

    def to_bytes(self) -> bytes:
        return canonical_json(self.model_dump(mode="json"))


def judged(fields: Mapping[str, Any]) -> Judgement:
    """Return a judgement of these fields, with its digest."""
    judgement = Judgement.model_validate({"digest": 64 * "0", **fields})
    return judgement.model_copy(update={"digest": judgement.content_digest()})
