"""`sluice fleet advise CVE-…`: the projects whose locks have a version that GitHub's advisory database calls
vulnerable. No right on a project's own alerts is needed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sluice.core.errors import SluiceError
from sluice.core.settings import Settings
from sluice.extras.fleet.fleet_file import FleetFile, FleetProject
from sluice.extras.fleet.repository_reader import (
    AT_ONCE,
    ProjectFacts,
    commit_of,
    in_a_line,
    read_facts,
    read_repository,
    template_mirror,
)

_NAME = re.compile(r"(CVE-\d{4}-\d{4,})|(GHSA(?:-[2-9a-z]{4}){3})", re.IGNORECASE)
_ECOSYSTEM = "pip"


class AffectedProject(Settings):
    """Vulnerable versions as `package==version`, or the `fault` by which they are not known."""

    repository: str
    ring: str
    version: str = ""
    pins: tuple[str, ...] = ()
    fault: str = ""


@dataclass(frozen=True)
class FleetAdvisory:
    """`ranges` are the affected versions by package, `patched` the first that are not. An upgrade to `template`, the
    newest version, helps unless it is `affected` itself."""

    name: str
    summary: str
    url: str
    ranges: Mapping[str, Sequence[str]]
    patched: Mapping[str, Sequence[str]]
    template: str
    affected: tuple[str, ...]
    projects: tuple[AffectedProject, ...]

    def text(self) -> str:
        affected = [one for one in self.projects if one.pins]
        unknown = [one for one in self.projects if one.fault]
        lines = [f"{self.name}: {self.summary}", self.url, ""]
        for package, ranges in self.ranges.items():
            patched = " and ".join(self.patched.get(package, ()))
            lines.append(
                f"{package}: {' or '.join(ranges)}; " + (f"fixed in {patched}" if patched else "not fixed yet")
            )
        lines += ["", f"{len(affected)} of {len(self.projects)} projects have it; of {len(unknown)} it is not known"]
        lines += [f"  {one.repository} ({one.ring}, engine {one.version}): {', '.join(one.pins)}" for one in affected]
        lines += [f"  {one.repository} ({one.ring}): not known: {one.fault}" for one in unknown]
        if self.affected:
            lines += ["", f"the newest template, {self.template}, has it too: {', '.join(self.affected)}"]
        elif affected:
            lines += ["", f"template {self.template} does not: sluice fleet upgrade --skip-rings {self.name}"]
        return "\n".join(lines) + "\n"


def advise(name: str, fleet: FleetFile, environment: Mapping[str, str], folder: Path) -> FleetAdvisory:
    if not (found := _NAME.fullmatch(name)):
        remedy = "such as CVE-2026-12345 or GHSA-xxxx-xxxx-xxxx"
        raise SluiceError(f"{name}: not the name of an advisory", remedy=remedy)
    key = "cve_id" if found[1] else "ghsa_id"
    value = name.upper() if found[1] else f"GHSA{name[4:].lower()}"
    with read_repository(fleet.projects[0].repository, environment, folder) as reader:
        listed = reader.get_global(f"/advisories?{key}={value}")
    if not listed:
        raise SluiceError(f"{value}: not in GitHub's advisory database", remedy="check the name")
    ranges, patched = _affected(listed)
    if not ranges:
        raise SluiceError(f"{value}: affects no Python package", remedy=listed[0]["html_url"])
    template, versions = template_mirror(fleet, environment, folder)
    own = _pins(read_facts(template, commit_of(template, versions[-1]), template), ranges)

    def ask(project: FleetProject) -> AffectedProject:
        name, ring = project.repository, project.ring
        try:
            with read_repository(name, environment, folder) as reader:
                _, branch, reader = reader.look()
            facts = read_facts(reader.mirror, branch["commit"]["sha"], template)
        except Exception as error:  # whatever one repository holds, the others are asked
            return AffectedProject(repository=name, ring=ring, fault=in_a_line(error))
        return AffectedProject(repository=name, ring=ring, version=facts.version, pins=_pins(facts, ranges))

    with ThreadPoolExecutor(AT_ONCE) as pool:
        projects = tuple(pool.map(ask, fleet.projects))
    about = listed[0]
    return FleetAdvisory(value, about["summary"], about["html_url"], ranges, patched, versions[-1], own, projects)


def _affected(listed: Sequence[Mapping[str, Any]]) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    ranges: dict[str, list[str]] = {}
    patched: dict[str, list[str]] = {}
    for advisory in listed:
        for one in advisory.get("vulnerabilities") or ():
            package = one.get("package") or {}
            if package.get("ecosystem") == _ECOSYSTEM and package.get("name"):
                name = re.sub(r"[-_.]+", "-", package["name"]).lower()
                ranges.setdefault(name, []).append(one.get("vulnerable_version_range") or ">= 0")
                if one.get("first_patched_version"):
                    patched.setdefault(name, []).append(one["first_patched_version"])
    return ranges, patched


def _pins(facts: ProjectFacts, ranges: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    from packaging.specifiers import SpecifierSet

    # GitHub writes `= 1.2.3` for one version, Python `== 1.2.3`.
    wanted = {
        name: [SpecifierSet(re.sub(r"(?<![<>=!~])=(?!=)", "==", one)) for one in listed]
        for name, listed in ranges.items()
    }
    return tuple(
        f"{name}=={version}"
        for name, sets in wanted.items()
        for version in facts.pins.get(name, ())
        if any(one.contains(version, prereleases=True) for one in sets)
    )
