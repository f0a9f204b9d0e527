"""A scratch repository for each file of tests, and worlds to run its workflows in."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from workflows.scratch import Scratch
from workflows.world import World, world

HERE = Path(__file__).parent


# A worker takes a file at a time; whoever begins one of these last is who all others wait for.
LONGEST = ("release", "stopped", "ci", "dispatched", "day_one")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    place = {f"test_{name}.py": number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.name, len(place)) if item.path.parent == HERE else -1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("workflows")


@pytest.fixture(scope="module")
def scratch(folder: Path) -> Scratch:
    return Scratch(folder)


@pytest.fixture(scope="module")
def place(scratch: Scratch, folder: Path) -> Iterator[World]:
    with world(scratch, folder / "whole") as made:
        yield made


@pytest.fixture(scope="module")
def bare(scratch: Scratch, folder: Path) -> Iterator[World]:
    with world(scratch, folder / "bare", whole=False) as made:
        yield made
