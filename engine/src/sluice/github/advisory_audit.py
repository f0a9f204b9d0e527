"""Known vulnerabilities of the locked packages: pip-audit queries the OSV database.

It fails on an advisory that is not accepted, and on a package that could not be looked up.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
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
    """An advisory about a package of a lock, or, without one, why the package could not be looked up."""

    lock: str
    package: str
    version: str
    advisory: str = ""
    names: frozenset[str] = frozenset()
    fixed_in: str = ""
    trouble: str = ""
    accepted: str = ""

    @property
    def fault(self) -> str:
        """Empty where the finding is accepted."""
        if self.accepted:
            return ""
        what = self.trouble or f"{self.advisory}, {f'fixed in {self.fixed_in}' if self.fixed_in else 'not fixed yet'}"
        return f"{self.lock}: {self.package} {self.version}: {what}"


def audit(program: Path, locks: Sequence[Path], acceptances: Path, *, today: date) -> list[AdvisoryMatch]:
    """All findings of all locks, accepted ones too. SluiceError when pip-audit cannot do its work."""
    accepted = load_settings(acceptances, AcceptedAdvisories).accepted
    if not program.is_file():
        raise SluiceError(f"{program}: no such program", remedy="`make audit` installs it first")
    if not locks:
        raise SluiceError("no lock to audit")
    return [_judged(finding, accepted, today) for lock in locks for finding in _findings(program, lock)]


def summary(findings: Iterable[AdvisoryMatch], locks: int) -> str:
    """Markdown for the summary of the job."""
    rows = [
        (one.lock, one.package, one.version, one.advisory or one.trouble, one.fixed_in, one.accepted)
        for one in findings
    ]
    head = f"### Dependencies\n\n{locks} locks, "
    if not rows:
        return head + "nothing known against them.\n"
    return f"{head}{len(rows)} findings.\n\n" + table(
        ("lock", "package", "has", "advisory", "fixed in", "accepted"), rows
    )


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
    if reason := package.get("skip_reason"):
        return [AdvisoryMatch(lock, package["name"], "", trouble=f"not looked up: {reason}")]
    return [
        AdvisoryMatch(
            lock,
            package["name"],
            package["version"],
            advisory=one["id"],
            names=frozenset((one["id"], *one.get("aliases", ()))),
            fixed_in=", ".join(one.get("fix_versions", ())),
        )
        for one in package["vulns"]
    ]


def _judged(finding: AdvisoryMatch, accepted: Sequence[AcceptedAdvisory], today: date) -> AdvisoryMatch:
    for one in accepted:
        if one.package == finding.package and one.id in finding.names and today <= one.until:
            return AdvisoryMatch(**{**finding.__dict__, "accepted": f"until {one.until}: {one.reason}"})
    return finding
