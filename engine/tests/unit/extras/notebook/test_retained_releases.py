# ruff: noqa: F811 - a fixture that is imported is named by the tests
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from sluice.core.workspace import Workspace
from sluice.extras.notebook.retained_releases import kept_judgements
from sluice.release import catalogue
from sluice.release.artifact_store import open_artifact_store
from sluice.release.manifest import Manifest, load_judgement
from unit.release.conftest import make, small_models, workspace  # noqa: F401 - fixtures

Make = Callable[..., tuple[Manifest, Path]]


@pytest.mark.usefixtures("small_models")
def test_a_release_is_kept_here_and_in_the_shared_place(workspace: Workspace, make: Make, tmp_path: Path) -> None:
    _, folder = make()
    judgement = load_judgement(folder)
    place = {"SLUICE_ARTEFACTS": str(tmp_path / "place")}
    catalogue.add(open_artifact_store(place["SLUICE_ARTEFACTS"]), workspace, folder, "1" * 40)
    assert kept_judgements(workspace, {}) == kept_judgements(workspace, place) == [judgement]
    shutil.rmtree(workspace.releases)
    assert kept_judgements(workspace, {}) == []
    assert kept_judgements(workspace, place) == [judgement]
