"""Another version of the data: from the cache where it is there, else from the remote."""

from __future__ import annotations

import shutil

from sluice.core.workspace import Workspace
from sluice.data.contract import data_digest
from sluice.data.data_policy import DataPolicy
from sluice.data.publish import push
from sluice.extras.curation.checked_out import checked_out
from unit.data.conftest import commit

POLICY = DataPolicy()


def test_another_version_can_be_looked_at(checkout: Workspace) -> None:
    push(checkout, POLICY)
    first = commit(checkout.root)
    digest = data_digest(checkout.data)
    (checkout.data / "corpus" / "notes.md").write_text(
        "---\nid: notes\ntitle: N\nlicence: CC0-1.0\nsource: tests\n---\nA note.\n"
    )
    push(checkout, POLICY)
    shutil.rmtree(checkout.root / ".dvc" / "cache")  # then it comes from the remote
    with checked_out(checkout, first) as then:
        assert data_digest(then) == digest
    assert not then.exists()
    with checked_out(checkout, str(checkout.data)) as folder:
        assert folder == checkout.data
