"""A real PostgreSQL, and a checkout in miniature beside it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sluice.retrieval.stores import EMBEDDED, open_store


@pytest.fixture(scope="session")
def state() -> Iterator[Path]:
    """The .sluice/ folder. Its path is short: that of a socket is limited."""
    root = Path(tempfile.mkdtemp(prefix="sl"))
    with open_store(EMBEDDED.chosen, root / ".sluice"):
        yield root / ".sluice"
    shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
def config(state: Path) -> Iterator[Path]:
    folder = state.parent / "config"
    folder.mkdir()
    yield folder / "budgets.yaml"
    shutil.rmtree(folder)
