"""Known vulnerabilities of the locked packages: pip-audit queries the OSV database.

It fails on an advisory that is not accepted, and on a package that could not be looked up.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

from sluice.core.errors import SluiceError
from sluice.core.settings import Settings, load_settings
from sluice.github.markdown_table import table


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
    """What is known against a package of a lock: `advisory`, or why the package could not be looked up.

    `names` are the ids of the advisory; `accepted` says until when and why it is accepted."""

    lock: str
    package: str
    version: str
    advisory: str
    names: frozenset[str] = frozenset()
    fixed_in: str = ""
    accepted: str = ""

    @property
    def fault(self) -> str:
        """Empty where the finding is accepted."""
        fix = f", {f'fixed in {self.fixed_in}' if self.fixed_in else 'not fixed yet'}" if self.names else ""
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
    accepted = load_settings(acceptances, AcceptedAdvisories).accepted
    if not program.is_file():
        raise SluiceError(f"{program}: no such program", remedy="`make audit` installs it first")
    if not locks:
        raise SluiceError("no lock to audit")
    return [_judged(finding, accepted, today) for lock in locks for finding in _findings(program, lock)]


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


def _findings(program: Path, lock: Path) -> list[AdvisoryMatch]:
    options = ["--format", "json", "--vulnerability-service", "osv", "--require-hashes", "--disable-pip"]
    command = [str(program), *options, "--progress-spinner", "off", "--requirement", str(lock)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        packages = json.loads(done.stdout)["dependencies"]
        return [finding for package in packages for finding in _of_package(lock.name, package)]
    except (ValueError, KeyError, TypeError):
        words = done.stderr.strip().splitlines()[-1:] or ["no words"]
        raise SluiceError(
            f"{lock}: pip-audit ended with {done.returncode}: {words[0]}",
            remedy="it needs the network; run it again, or by hand: " + " ".join(command),
        ) from None


def _of_package(lock: str, package: dict[str, Any]) -> list[AdvisoryMatch]:
    name = package["name"]
    if reason := package.get("skip_reason"):
        return [AdvisoryMatch(lock, name, "", f"not looked up: {reason}")]
    return [
        AdvisoryMatch(
            lock,
            name,
            package["version"],
            one["id"],
            frozenset((one["id"], *one.get("aliases", ()))),
            ", ".join(one.get("fix_versions", ())),
        )
        for one in package["vulns"]
    ]


def _judged(finding: AdvisoryMatch, accepted: Sequence[AcceptedAdvisory], today: date) -> AdvisoryMatch:
    for one in accepted:
        if one.package == finding.package and one.id in finding.names and today <= one.until:
            return replace(finding, accepted=f"until {one.until}: {one.reason}")
    return finding
