"""Who has a vulnerability: GitHub's advisory against the locks of real repositories."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sluice import cli
from sluice.core.errors import SluiceError
from sluice.extras.fleet.advisory import FleetAdvisory, advise
from unit.extras.fleet.fake_fleet import FakeFleet, FakeProject, ProjectFactory, fleet_of

NAME = "CVE-2024-34064"


def advisory(*vulnerabilities: tuple[str, str, str, str | None]) -> dict[str, Any]:
    """As GitHub's OpenAPI description has a global-advisory, with the fields that are read."""
    listed = [
        {
            "package": {"ecosystem": system, "name": name},
            "vulnerable_version_range": which,
            "first_patched_version": fixed,
        }
        for system, name, which, fixed in vulnerabilities
    ]
    page = "https://github.invalid/advisories/GHSA-h75v-3vvj-5mfj"
    return {"cve_id": NAME, "summary": "Attribute injection", "html_url": page, "vulnerabilities": listed}


def ask(github: FakeFleet, factory: ProjectFactory, tmp_path: Path, name: str = NAME) -> FleetAdvisory:
    fleet = fleet_of(github.projects, factory.template.root, 9)
    return advise(name, fleet, github.environment(factory.servers), tmp_path / "kept")


def test_those_that_have_it_are_named_and_the_upgrade_that_mends_it(
    github: FakeFleet, factory: ProjectFactory, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    for name, version in (("octo/old", "0.2.0"), ("octo/new", "0.3.0")):
        github.projects[name] = factory.make(name, version, {})
    github.projects["octo/gone"] = FakeProject("octo/gone", factory.servers, status=404)
    github.advisories[NAME] = [advisory(("pip", "Jinja2", "<= 3.1.3", "3.1.4"), ("npm", "requests", ">= 0", None))]
    found = ask(github, factory, tmp_path)
    assert {one.repository: one.pins for one in found.projects} == {
        "octo/old": ("jinja2==3.1.2",),
        "octo/new": (),
        "octo/gone": (),
    }
    assert [one.repository for one in found.projects if one.fault] == ["octo/gone"]
    assert found.affected == ()
    for name, value in github.environment(factory.servers).items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    fleet = fleet_of(github.projects, factory.template.root, 9)
    Path("fleet.yaml").write_text(json.dumps(fleet.model_dump(mode="json", exclude_none=True)))
    cli.command()(["fleet", "advise", NAME.lower()], standalone_mode=False)
    said = capsys.readouterr().out
    assert "jinja2: <= 3.1.3; fixed in 3.1.4" in said
    assert "1 of 3 projects have it; of 1 it is not known" in said
    assert "  octo/old (first, engine 0.2.0): jinja2==3.1.2" in said
    assert f"template 0.3.0 does not: sluice fleet upgrade --skip-rings {NAME}" in said


@pytest.mark.parametrize(
    ("which", "affected"),
    [
        ("= 2.30.0", True),
        ("= 2.30.1", False),
        (">= 2.3.0, < 2.31.0", True),
        ("> 2.30.0, < 2.31.0", False),
        ("<= 2.30.0", True),
        ("< 2.30.0", False),
    ],
)
def test_ranges_are_githubs(
    github: FakeFleet, factory: ProjectFactory, tmp_path: Path, which: str, affected: bool
) -> None:
    github.projects["octo/one"] = factory.make("octo/one", "0.3.0", {})
    github.advisories[NAME] = [advisory(("pip", "requests", which, None))]
    found = ask(github, factory, tmp_path)
    assert bool(found.projects[0].pins) is affected
    assert bool(found.affected) is affected
    assert ("the newest template, 0.3.0, has it too" in found.text()) is affected


def test_what_is_none_is_refused(github: FakeFleet, factory: ProjectFactory, tmp_path: Path) -> None:
    github.projects["octo/one"] = factory.make("octo/one", "0.3.0", {})
    for name, words in (("log4shell", "not the name"), ("CVE-2020-12345", "not in GitHub's advisory database")):
        with pytest.raises(SluiceError, match=words):
            ask(github, factory, tmp_path, name)
    github.advisories[NAME] = [advisory(("npm", "requests", ">= 0", None))]
    with pytest.raises(SluiceError, match="affects no Python package"):
        ask(github, factory, tmp_path)
