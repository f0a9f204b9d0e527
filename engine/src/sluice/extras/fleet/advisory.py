"""`sluice fleet advise CVE-…`: the projects whose locks have a version that GitHub's advisory database calls
vulnerable. No right on a project's own alerts is needed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from sluice.core.errors import SluiceError
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


def advise(name: str, fleet: FleetFile, environment: Mapping[str, str], folder: Path) -> str:
    """Describe an advisory, and the projects that have an affected version."""
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

    def ask(project: FleetProject) -> tuple[str, str]:
        """Return a line if the project has it, and one if that is not known."""
        name, ring = project.repository, project.ring
        try:
            with read_repository(name, environment, folder) as reader:
                _, branch, reader = reader.look()
            facts = read_facts(reader.mirror, branch["commit"]["sha"], template)
        except Exception as error:  # whatever one repository holds, the others are asked
            return "", f"  {name} ({ring}): not known: {in_a_line(error)}"
        pins = ", ".join(_pins(facts, ranges))
        return f"  {name} ({ring}, engine {facts.version}): {pins}" if pins else "", ""

    with ThreadPoolExecutor(AT_ONCE) as pool:
        asked = list(pool.map(ask, fleet.projects))
    affected, unknown = [one for one, _ in asked if one], [one for _, one in asked if one]
    lines = [f"{value}: {listed[0]['summary']}", listed[0]["html_url"], ""]
    for package, which in ranges.items():
        fixed = " and ".join(patched.get(package, ()))
        lines.append(f"{package}: {' or '.join(which)}; " + (f"fixed in {fixed}" if fixed else "not fixed yet"))
    lines += ["", f"{len(affected)} of {len(asked)} projects have it; of {len(unknown)} it is not known"]
    lines += [*affected, *unknown]
    if own:
        lines += ["", f"the newest template, {versions[-1]}, has it too: {', '.join(own)}"]
    elif affected:
        lines += ["", f"template {versions[-1]} does not: sluice fleet upgrade --skip-rings {value}"]
    return "\n".join(lines) + "\n"


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
