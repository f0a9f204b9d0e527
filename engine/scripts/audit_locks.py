"""Known vulnerabilities of the locked packages: pip-audit queries the OSV database. `make audit`; needs the network.

It fails on an advisory that engine/requirements/advisories.yaml does not accept, and on a package that could not be
looked up.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from sluice.cli.common import tell
from sluice.core.errors import SluiceError, ValidationErrors
from sluice.core.settings import Settings, load_settings
from sluice.core.text import table


class AcceptedAdvisory(Settings):
    """An accepted advisory: `until` is the last day of its acceptance."""

    id: str
    package: str
    reason: str
    until: date


class AcceptedAdvisories(Settings):
    """engine/requirements/advisories.yaml"""

    accepted: tuple[AcceptedAdvisory, ...] = ()


@dataclass(frozen=True)
class AdvisoryMatch:
    """What is known against a package of a lock, or why it could not be looked up; accepted, for how long and why."""

    lock: str
    package: str
    version: str
    advisory: str
    fixed_in: str = ""
    accepted: str = ""

    @property
    def fault(self) -> str:
        """Empty where the finding is accepted."""
        fix = f", fixed in {self.fixed_in}" if self.fixed_in else ""
        return "" if self.accepted else f"{self.lock}: {self.package} {self.version}: {self.advisory}{fix}"


def audit(program: Path, locks: Sequence[Path], acceptances: Path, *, today: date) -> list[AdvisoryMatch]:
    """All findings of all locks, accepted ones too.

    Args:
        program: pip-audit.
        locks: Requirements with hashes.
        acceptances: engine/requirements/advisories.yaml.
        today: What is accepted until yesterday counts again.

    Raises:
        SluiceError: pip-audit is missing or cannot do its work, or there is no lock.
    """
    listed = load_settings(acceptances, AcceptedAdvisories).accepted
    accepted = {(one.package, one.id): f"until {one.until}: {one.reason}" for one in listed if today <= one.until}
    if not program.is_file():
        raise SluiceError(f"{program}: no such program", remedy="`make audit` installs it first")
    if not locks:
        raise SluiceError("no lock to audit")
    return [finding for lock in locks for finding in _findings(program, lock, accepted)]


def summary(findings: Sequence[AdvisoryMatch], locks: int) -> str:
    """Markdown for the summary of the job.

    Args:
        findings: What `audit` found.
        locks: How many locks it looked at.
    """
    head = f"### Dependencies\n\n{locks} locks, "
    if not findings:
        return head + "nothing known against them.\n"
    rows = [(one.lock, one.package, one.version, one.advisory, one.fixed_in, one.accepted) for one in findings]
    columns = ("lock", "package", "has", "advisory", "fixed in", "accepted")
    return f"{head}{len(rows)} findings.\n\n" + table(columns, rows)


def _findings(program: Path, lock: Path, accepted: Mapping[tuple[str, str], str]) -> list[AdvisoryMatch]:
    options = ["--format", "json", "--vulnerability-service", "osv", "--require-hashes", "--disable-pip"]
    command = [str(program), *options, "--progress-spinner", "off", "--requirement", str(lock)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        packages = json.loads(done.stdout)["dependencies"]
        return [finding for package in packages for finding in _of_package(lock.name, package, accepted)]
    except (ValueError, KeyError, TypeError):
        words = done.stderr.strip().splitlines()[-1:] or ["no words"]
        raise SluiceError(
            f"{lock}: pip-audit ended with {done.returncode}: {words[0]}",
            remedy="it needs the network; run it again, or by hand: " + " ".join(command),
        ) from None


def _of_package(
    lock: str, package: Mapping[str, Any], accepted: Mapping[tuple[str, str], str]
) -> Iterator[AdvisoryMatch]:
    name = package["name"]
    if reason := package.get("skip_reason"):
        yield AdvisoryMatch(lock, name, "", f"not looked up: {reason}")
        return
    for one in package["vulns"]:
        reasons = (accepted.get((name, known), "") for known in (one["id"], *one.get("aliases", ())))
        fixed = ", ".join(one.get("fix_versions", ())) or "no version yet"
        yield AdvisoryMatch(lock, name, package["version"], one["id"], fixed, next(filter(None, reasons), ""))


def main(requirements: Path, program: Path) -> None:
    """Audits every lock of a folder, and tells it to the terminal and the summary of the job."""
    locks = sorted(requirements.glob("*.txt"))
    findings = audit(program, locks, requirements / "advisories.yaml", today=datetime.now(UTC).date())
    said = summary(findings, len(locks))
    print(said)
    tell(said)
    if faults := [one.fault for one in findings if one.fault]:
        remedy = "compile the locks anew, or accept it for a time in engine/requirements/advisories.yaml"
        raise ValidationErrors("requirements", faults, remedy=remedy)


if __name__ == "__main__":
    try:
        main(Path(__file__).parents[1] / "requirements", Path(sys.prefix) / "scan" / "bin" / "pip-audit")
    except SluiceError as error:
        sys.exit(f"error: {error}\n  -> {error.remedy}")
