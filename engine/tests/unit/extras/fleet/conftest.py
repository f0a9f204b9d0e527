from collections.abc import Iterator
from pathlib import Path

import pytest

from unit.extras.fleet.fake_fleet import FakeFleet, Fleet, ProjectFactory, make_template
from unit.github.fake_github import fake_github


@pytest.fixture
def github(loopback: None) -> Iterator[FakeFleet]:  # noqa: ARG001 - opens the network to this machine
    fake = FakeFleet()
    with fake_github(fake):
        yield fake


@pytest.fixture
def fleet(github: FakeFleet, tmp_path: Path) -> Fleet:
    return Fleet(github, ProjectFactory(make_template(tmp_path / "template"), tmp_path), tmp_path)
