from __future__ import annotations

from typing import Any

import pytest

from sluice import cli
from sluice.core.errors import SluiceError
from sluice.extras.fleet.advisory import advise
from unit.extras.fleet.fake_fleet import FakeProject, Fleet

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


def ask(fleet: Fleet, name: str = NAME) -> str:
    return advise(name, fleet.file(), fleet.environment, fleet.folder / "kept")


def test_those_that_have_it_are_named_and_the_upgrade_that_mends_it(
    fleet: Fleet, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, version in (("octo/old", "0.2.0"), ("octo/new", "0.3.0")):
        fleet.github.projects[name] = fleet.factory.make(name, version, {})
    fleet.github.projects["octo/gone"] = FakeProject("octo/gone", fleet.factory.servers, status=404)
    fleet.github.advisories[NAME] = [
        advisory(("pip", "Jinja2", "<= 3.1.3", "3.1.4"), ("npm", "requests", ">= 0", None))
    ]
    fleet.enter(monkeypatch, fleet.file())
    cli.command()(["fleet", "advise", NAME.lower()], standalone_mode=False)
    said = capsys.readouterr().out
    assert "jinja2: <= 3.1.3; fixed in 3.1.4" in said
    assert "1 of 3 projects have it; of 1 it is not known" in said
    assert "  octo/old (first, engine 0.2.0): jinja2==3.1.2" in said
    assert "  octo/gone (first): not known: " in said
    assert "octo/new" not in said
    assert f"template 0.3.0 does not: sluice fleet upgrade --skip-rings {NAME}" in said


def test_ranges_are_githubs(fleet: Fleet) -> None:
    fleet.github.projects["octo/one"] = fleet.factory.make("octo/one", "0.3.0", {})
    for which, affected in (
        ("= 2.30.0", True),
        ("= 2.30.1", False),
        (">= 2.3.0, < 2.31.0", True),
        ("> 2.30.0, < 2.31.0", False),
    ):
        fleet.github.advisories[NAME] = [advisory(("pip", "requests", which, None))]
        found = ask(fleet)
        assert ("1 of 1 projects have it" in found) == affected, which
        assert ("the newest template, 0.3.0, has it too" in found) == affected, which


def test_what_is_none_is_refused(fleet: Fleet) -> None:
    fleet.github.projects["octo/one"] = fleet.factory.make("octo/one", "0.3.0", {})
    for name, words in (("log4shell", "not the name"), ("CVE-2020-12345", "not in GitHub's advisory database")):
        with pytest.raises(SluiceError, match=words):
            ask(fleet, name)
    fleet.github.advisories[NAME] = [advisory(("npm", "requests", ">= 0", None))]
    with pytest.raises(SluiceError, match="affects no Python package"):
        ask(fleet)
