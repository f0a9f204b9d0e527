"""A scratch repository for each file of tests, and worlds to run its workflows in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from workflows.scratch import Scratch
from workflows.world import World, world


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("workflows")


@pytest.fixture(scope="module")
def scratch(folder: Path) -> Scratch:
    return Scratch(folder)


@pytest.fixture(scope="module")
def place(scratch: Scratch, folder: Path) -> Iterator[World]:
    """A world with an image to build, an account and a cluster for each environment."""
    with world(scratch, folder / "whole") as made:
        yield made


@pytest.fixture(scope="module")
def bare(scratch: Scratch, folder: Path) -> Iterator[World]:
    """A world with a folder for artefacts, and nothing else."""
    with world(scratch, folder / "bare", whole=False) as made:
        yield made
