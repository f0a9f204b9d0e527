"""What was measured of a release and decided about it: verdicts of gates, and judgement.json, which keeps them.

Nothing of it is content: a release that is made and judged again, on another day or machine, has the same id.
"""

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


class EvaluationPin(Settings):
    """What the candidate scored, and the digest of the cases it was asked."""

    cases_digest: str
    metrics: dict[str, float | None]


class Judgement(Settings):
    """judgement.json. `commit`, `created` and `machine`: from what, when and where it was made; `parent`: the release
    that it was judged against; `digest`: over all the rest."""

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
        """Names of the gates that did not pass."""
        return [verdict.gate for verdict in self.gates if not verdict.passed]

    def content_digest(self) -> str:
        """The digest that this content must have."""
        return digest_of(self.model_dump(mode="json", exclude={"digest"}))

    def to_bytes(self) -> bytes:
        """The canonical JSON that judgement.json holds."""
        return canonical_json(self.model_dump(mode="json"))


def judged(fields: Mapping[str, Any]) -> Judgement:
    """A judgement of these fields (all but `digest`)."""
    judgement = Judgement.model_validate({"digest": 64 * "0", **fields})
    return judgement.model_copy(update={"digest": judgement.content_digest()})
