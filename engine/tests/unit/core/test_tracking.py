from pathlib import Path

import pytest

from sluice.core.errors import SluiceError
from sluice.core.tracking import open_tracking
from sluice.core.workspace import Workspace


def test_a_file_that_is_no_store_is_told_by_name(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    workspace.state.mkdir()
    (workspace.state / "mlflow.db").write_bytes(b"not a database " * 100)
    with pytest.raises(SluiceError, match=r"mlflow\.db: MLflow cannot use it"):
        open_tracking(workspace, "trials")
