"""Projects of a fleet whose engine is a wheel: no engine/ in git, real repositories behind a fake GitHub."""

from __future__ import annotations

from pathlib import Path

import pytest

from sluice.core.workspace import LOCK
from sluice.extras.fleet.fleet_status import read_status
from sluice.extras.fleet.fleet_upgrade import advance
from sluice.extras.upgrade.engine_wheel import pack
from sluice.extras.upgrade.held_engine import install
from sluice.extras.upgrade.upgrade_engine import BRANCH
from unit.extras.fleet.fake_fleet import CI, FakeFleet, FakeProject, ProjectFactory, fleet_of
from unit.template.conftest import commit, git


@pytest.fixture
def installed(github: FakeFleet, factory: ProjectFactory, tmp_path: Path) -> FakeProject:
    """A project with 0.2.0 of an engine that has a 0.3.0, whose wheels lie in one folder."""
    made = factory.make("octo/app-0", "0.2.0", {"docs/0.md": "ours\n"})
    github.projects[made.name] = made
    git(tmp_path, "clone", "--quiet", str(made.bare), "checkout")
    work = tmp_path / "checkout"
    install(work, str(pack(work, tmp_path / "dist")), "")
    commit(work, "Install the engine")
    git(work, "push", "--quiet", "origin", "main")
    return made


def test_the_status_has_its_version_and_the_upgrade_moves_its_lock(
    github: FakeFleet, factory: ProjectFactory, installed: FakeProject, tmp_path: Path
) -> None:
    fleet = fleet_of(github.projects, factory.template.root, 1, oldest_engine="0.2.0", gates=["all"], extras=["guard"])
    environment, folder = github.environment(factory.servers), tmp_path / "kept"
    (one,) = read_status(fleet, environment, folder).projects
    assert (one.fault, one.version, one.behind, one.edited, one.broken) == ("", "0.2.0", 1, (), ())

    (early,) = advance(fleet, environment, folder).projects
    assert early.state == "unknown"
    assert "the engine cannot be taken" in early.reason, "its wheel is not there yet"
    assert installed.pulls == []
    pack(factory.template.root, tmp_path / "dist")
    (opened,) = advance(fleet, environment, folder).projects
    assert (opened.state, len(installed.pulls)) == ("waiting", 1)
    before, after = installed.files("main"), installed.files(BRANCH)
    assert {path for path in after if after[path] != before.get(path)} == {LOCK, CI}
    assert not [path for path in after if path.startswith("engine/")]
    assert "sluice_engine-0.3.0-py3-none-any.whl" in git(installed.bare, "show", f"{BRANCH}:{LOCK}")


def test_a_lock_of_no_version_is_one_line(
    github: FakeFleet, factory: ProjectFactory, installed: FakeProject, tmp_path: Path
) -> None:
    work = tmp_path / "checkout"
    commit(work, "Own version", {LOCK: (work / LOCK).read_text().replace("0.2.0", "0.2.9")})
    git(work, "push", "--quiet", "origin", "main")
    fleet = fleet_of(github.projects, factory.template.root, 1)
    (one,) = read_status(fleet, github.environment(factory.servers), tmp_path / "kept").projects
    assert "v0.2.9" in one.fault
    assert installed.pulls == []
