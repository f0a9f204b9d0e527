# ruff: noqa: F811 - a fixture that is imported is named by the tests
"""From a release back to its rows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from sluice.core.digests import digest_of
from sluice.core.errors import SluiceError
from sluice.core.workspace import Workspace
from sluice.data.rows import Row, write_rows
from sluice.extras.finetune.data_lineage import lineage
from sluice.release.manifest import Manifest
from unit.release.conftest import make, workspace  # noqa: F401 - fixtures

Make = Callable[..., tuple[Manifest, Path]]
ROWS = [Row(id=f"q{n}", question=f"What is {n}?", answers=(str(n),), doc_ids=("numbers",)) for n in range(3)]


def record(workspace: Workspace, **more: object) -> None:
    path = workspace.build / "adapter" / "training.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | more))


def test_each_row_is_named_with_its_digest_and_what_became_of_it(workspace: Workspace, make: Make) -> None:
    record(workspace, rows={row.id: digest_of(row.as_dict()) for row in ROWS}, base_sha256="b" * 64)
    manifest, folder = make()
    edited = ROWS[1].model_copy(update={"answers": ("one",)})
    write_rows(workspace.data / "train.jsonl", [ROWS[0], edited])
    lines = lineage(workspace, manifest, folder)
    assert lines[0].startswith(f"release {manifest.id} of commit {'0' * 40}")
    assert manifest.adapter is not None
    assert f"adapter sha256 {manifest.adapter.sha256}" in lines
    assert f"trained on base sha256 {'b' * 64}" in lines
    assert lines[-3:] == [
        f"row q0 {digest_of(ROWS[0].as_dict())} as it is",
        f"row q1 {digest_of(ROWS[1].as_dict())} changed since",
        f"row q2 {digest_of(ROWS[2].as_dict())} gone",
    ]


def test_a_release_without_training_says_so(workspace: Workspace, make: Make) -> None:
    assert lineage(workspace, *make(adapter=None))[-1] == "no adapter: nothing was trained"
    with pytest.raises(SluiceError, match="lists no rows"):
        lineage(workspace, *make())
