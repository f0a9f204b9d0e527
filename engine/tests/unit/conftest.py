from __future__ import annotations

import os

import pytest

from unit.serving.browser import find_browser


@pytest.fixture(scope="module")
def program() -> str:
    """The browser of this machine, for tests of pages."""
    found = find_browser()
    if found is None and os.environ.get("GITHUB_ACTIONS") == "true":
        pytest.fail("GitHub's machines have a browser; without one the page would go untested there")
    if found is None:
        pytest.skip("no Chromium on this machine: install one, or name it in SLUICE_CHROMIUM")
    return found
