"""Nothing of one tenant's documents reaches another: engine/benchmarks/tenant_canaries.py asks thousands of times."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.serving.tenant_canaries import OTHER, OWNER, look_across_tenants

pytestmark = pytest.mark.real
QUESTIONS = 60


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="sc"))  # a short path: that of the store's socket is limited
    yield made
    shutil.rmtree(made, ignore_errors=True)


def test_canaries_of_one_tenant_reach_another_by_nothing(folder: Path) -> None:
    found = look_across_tenants(folder, QUESTIONS)
    assert found.leaks == []
    assert found.owner_saw == QUESTIONS // 2  # so they were there to be found
    assert found.asked[OWNER, 200] == QUESTIONS // 2
    assert found.asked[OTHER, 200] == QUESTIONS
    assert set(found.asked) == {(OWNER, 200), (OTHER, 200), ("feedback", 400)}
