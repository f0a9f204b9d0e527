from collections.abc import Callable
from functools import partial

import pytest

from sluice.core.workspace import Workspace

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def doctor(workspace: Workspace, monkeypatch: pytest.MonkeyPatch, sluice: Run) -> Run:
    """`sluice doctor` in the workspace; exit status, output, errors."""
    monkeypatch.chdir(workspace.root)
    return partial(sluice, "doctor")
