"""redteam.json: the findings of a red team run and its verdict."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from sluice.core.atomic_files import read_json
from sluice.core.errors import SluiceError
from sluice.core.settings import Settings
from sluice.extras.redteam.attack_success import FamilyResult
from sluice.extras.redteam.garak_report import GarakResult
from sluice.release.verdict import Verdict

FILE, CASES = "redteam.json", "cases.jsonl"
SCHEMA = 1


class BaselineVerdict(Settings):
    """What the run was compared with: `base` in words, the verdict, and the attacks that flipped."""

    base: str
    verdict: str
    broken: tuple[str, ...]
    fixed: tuple[str, ...]


class RedTeamResult(Settings):
    """`subject`: a release, the working tree, or an address. `complete`: every family and garak were run, so that every
    gate was judged; `unjudged` names the metrics that a part of a run cannot have; `faults`: what broke on the way."""

    schema_version: int = SCHEMA
    subject: str
    seconds: float
    complete: bool
    unjudged: tuple[str, ...]
    families: tuple[FamilyResult, ...]
    garak: GarakResult | None
    faults: tuple[str, ...]
    gates: tuple[Verdict, ...]
    against: BaselineVerdict | None

    @property
    def refused(self) -> list[str]:
        """Why the run does not pass, a reason each; empty when it does. No gate at all does not pass."""
        reasons = [*self.faults, *(verdict.reason for verdict in self.gates if not verdict.passed)]
        if not self.gates:
            reasons.append("no gate was decided; nothing was checked, so nothing passes")
        if self.against is not None and self.against.verdict not in ("improved", "no difference seen"):
            reasons.append(f"against {self.against.base}: {self.against.verdict}")
        return reasons


def read_result(folder: Path) -> RedTeamResult:
    """The result in a folder. SluiceError when it is missing or of another version."""
    try:
        return RedTeamResult.model_validate(read_json(folder / FILE))
    except ValidationError as error:
        raise SluiceError(
            f"{folder / FILE}: of another version: {error.errors()[0]['msg']}", remedy="run `sluice redteam` again"
        ) from None
