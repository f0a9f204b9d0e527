from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from unit.serving.browser import find_browser

if TYPE_CHECKING:
    from unit.github.fake_github import FakeGitHub
    from unit.github.fake_repository import FakeRepository


@pytest.fixture(scope="module")
def program() -> str:
    """The browser of this machine, for tests of pages."""
    found = find_browser()
    if found is None and os.environ.get("GITHUB_ACTIONS") == "true":
        pytest.fail("GitHub's machines have a browser; without one the page would go untested there")
    if found is None:
        pytest.skip("no Chromium on this machine: install one, or name it in SLUICE_CHROMIUM")
    return found


@pytest.fixture
def github(loopback: None) -> Iterator[FakeGitHub]:  # noqa: ARG001 - opens the network to this machine
    from unit.github.fake_github import FakeGitHub, fake_github

    with fake_github(FakeGitHub()) as fake:
        yield fake


@pytest.fixture
def there(loopback: None) -> Iterator[FakeRepository]:  # noqa: ARG001 - opens the network to this machine
    from unit.github.fake_github import fake_github
    from unit.github.fake_repository import FakeRepository

    with fake_github(FakeRepository()) as fake:
        yield fake
