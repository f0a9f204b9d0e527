from pathlib import Path

import pytest

from sluice.core.errors import ValidationErrors
from sluice.extras.fleet.fleet_file import load_fleet

_PROJECT = "  - {{repository: octo/app-{0}, owners: ['@octo/team'], ring: {1}}}\n"


def fleet(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "fleet.yaml"
    path.write_text(text)
    return path


def refused(tmp_path: Path, text: str) -> str:
    with pytest.raises(ValidationErrors) as caught:
        load_fleet(fleet(tmp_path, text))
    return caught.value.message


def test_a_file_that_holds_what_it_should(tmp_path: Path) -> None:
    projects = _PROJECT.format(0, "first") + "".join(_PROJECT.format(n, "rest") for n in range(1, 10))
    rules = "rules: {oldest_engine: 0.2.0, gates: [all], extras: [guard]}\n"
    found = load_fleet(fleet(tmp_path, f"template: octo/template\nrings: [first, rest]\n{rules}projects:\n{projects}"))
    assert [one.repository for one in found.ring("first")] == ["octo/app-0"]
    assert len(found.ring("rest")) == 9
    assert (found.rules.oldest_engine, found.rules.gates, found.rules.extras) == ("0.2.0", ("all",), ("guard",))


def test_each_fault_is_named_with_its_line(tmp_path: Path) -> None:
    said = refused(
        tmp_path,
        "template: octo/template\nrings: [first]\nrules: {oldest_engine: newest, gate: [f1]}\n"
        "projects:\n  - {repository: app, owners: [], ring: first}\n",
    )
    assert "fleet.yaml:3: rules.oldest_engine" in said
    assert "fleet.yaml:3: rules.gate: unknown key (did you mean 'gates'?)" in said
    assert "fleet.yaml:5: projects.0.repository" in said
    assert "fleet.yaml:5: projects.0.owners" in said


@pytest.mark.parametrize(
    ("rings", "projects", "fault"),
    [
        ("first, rest", _PROJECT.format(0, "frist"), "octo/app-0: no ring 'frist' (did you mean 'first'?)"),
        ("first, rest", _PROJECT.format(0, "first"), "ring 'rest' has no project"),
        ("first, first", _PROJECT.format(0, "first"), "first is there more than once"),
        ("first", _PROJECT.format(0, "first") + _PROJECT.format(0, "first").upper().replace("REPOSITORY", "repository")
         .replace("OWNERS", "owners").replace("RING: FIRST", "ring: first"), "octo/app-0 is there more than once"),
        ("first, rest", "".join(_PROJECT.format(n, "first" if n < 3 else "rest") for n in range(20)),
         "ring 'first' has 3 of 20 projects; rules.first_ring_percent allows 2"),
    ],
)  # fmt: skip
def test_what_contradicts_itself_is_refused(tmp_path: Path, rings: str, projects: str, fault: str) -> None:
    assert fault in refused(tmp_path, f"template: octo/template\nrings: [{rings}]\nprojects:\n{projects}")
