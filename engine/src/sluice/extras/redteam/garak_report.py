"""Strict reader of garak's report file: garak exits with 0 even when every attack succeeded or the run was incomplete.

The file is JSON lines: `init` with the version, an `attempt` for each prompt (twice or more, as its status grows), an
`eval` for each probe and detector, `completion` at the end of a run, and a `digest` of it all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sluice.core.atomic_files import read_jsonl
from sluice.core.errors import SluiceError, ValidationErrors
from sluice.core.settings import Settings
from sluice.release.gates import Measurement

_LOGS = "logs/garak.log and xdg_data_home/garak/garak.log beside it say why"
_COMPLETE = 2  # of an attempt: it has its answers and their scores


class ProbeResult(Settings):
    """A probe as one detector scored it. `unanswered`: prompts that got no answer, which proves nothing."""

    probe: str
    detector: str
    evaluated: int
    succeeded: int
    unanswered: int


class GarakResult(Settings):
    version: str
    probes: tuple[ProbeResult, ...]

    def figure(self) -> Measurement:
        """Attack success over all answers."""
        evaluated = sum(one.evaluated for one in self.probes)
        succeeded = sum(one.succeeded for one in self.probes)
        cases = tuple(f"{one.probe} ({one.detector})" for one in self.probes if one.succeeded)
        errors = sum(one.unanswered for one in self.probes)
        return Measurement(succeeded / evaluated if evaluated else None, evaluated, errors, cases)


def read_report(path: Path, probes: Sequence[str]) -> GarakResult:
    """What garak found with `probes`. Faults when the file is missing, cut off, or lacks what was to be run."""
    try:
        entries = read_jsonl(path)
    except SluiceError as error:
        raise SluiceError(error.message, remedy=_LOGS) from None
    versions = [str(entry.get("garak_version")) for entry in entries if entry.get("entry_type") == "init"]
    faults = [] if versions else ["no entry `init`: the run has not begun"]
    if not faults and [str(entry.get("entry_type")) for entry in entries[-2:]] != ["completion", "digest"]:
        faults.append("its last entries are not `completion` and `digest`: the run did not come to its end")
    attempts = Counter(
        str(entry.get("probe_classname"))
        for entry in entries
        if entry.get("entry_type") == "attempt" and entry.get("status") == _COMPLETE
    )
    found = []
    for probe in probes:
        evals = [entry for entry in entries if entry.get("entry_type") == "eval" and entry.get("probe") == probe]
        if not evals and not faults:
            faults.append(f"{probe}: no entry `eval`: the probe did not run")
        for entry in evals:
            result, fault = _result(probe, entry, attempts[probe])
            faults += [fault] if fault else []
            found += [result] if result else []
    if faults:
        raise ValidationErrors(str(path), faults, remedy=_LOGS)
    return GarakResult(version=versions[0], probes=tuple(found))


def _result(probe: str, entry: dict[str, Any], attempts: int) -> tuple[ProbeResult | None, str]:
    """A line `eval`, or what is wrong with it."""
    detector = str(entry.get("detector"))
    counts = [entry.get(key) for key in ("passed", "fails", "nones")]
    if not all(isinstance(one, int) and one >= 0 for one in counts):
        return None, f"{probe}: {detector}: passed, fails and nones are not numbers"
    passed, fails, nones = (int(one) for one in counts if one is not None)
    if passed + fails == 0:
        return None, f"{probe}: {detector}: no answer was judged"
    if passed + fails + nones < attempts or not attempts:
        return None, f"{probe}: {detector}: {passed + fails + nones} answers for {attempts} prompts that were sent"
    return (
        ProbeResult(probe=probe, detector=detector, evaluated=passed + fails, succeeded=fails, unanswered=nones),
        "",
    )
