"""An overlay with a release in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from sluice.core.errors import SluiceError
from sluice.core.workspace import Workspace
from sluice.rollout.released import place_of_rollout, render_release, rollout_of

from .cluster import IMAGE, checkout, release


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return checkout(tmp_path_factory.mktemp("checkout"))


def test_another_manifest_is_another_pod_template(workspace: Workspace) -> None:
    one, other = (
        rollout_of(render_release(workspace, "local", release(prompts={"answer": digit * 64}), IMAGE))["spec"][
            "template"
        ]
        for digit in "12"
    )
    assert one["spec"]["volumes"] != other["spec"]["volumes"]
    assert one["metadata"]["labels"] != other["metadata"]["labels"]


def test_the_overlay_itself_is_not_written(workspace: Workspace) -> None:
    def content() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in (workspace.root / "k8s").rglob("*") if path.is_file()}

    before = content()
    render_release(workspace, "local", release(), IMAGE)
    assert content() == before


def test_an_environment_that_is_not_there(workspace: Workspace) -> None:
    known = sorted(path.name for path in (workspace.root / "k8s" / "overlays").iterdir())
    with pytest.raises(SluiceError, match=f"did you mean '{known[-1]}'") as caught:
        render_release(workspace, known[-1][:-1], release(), IMAGE)
    assert ", ".join(known) in str(caught.value)


@pytest.mark.parametrize(("image", "words"), [("", "Rollout/sluice: "), ("sluice:latest", "not an image by digest")])
def test_an_image_without_a_digest(workspace: Workspace, image: str, words: str) -> None:
    with pytest.raises(SluiceError, match=words):
        render_release(workspace, "local", release(), image)


def test_a_manifest_that_fits_in_no_configmap(workspace: Workspace) -> None:
    large = release(files={f"config/{number}": "a" * 64 for number in range(15_000)})
    with pytest.raises(SluiceError, match="a ConfigMap holds"):
        render_release(workspace, "local", large, IMAGE)


def test_where_the_rollout_is(workspace: Workspace) -> None:
    assert place_of_rollout(workspace, "staging") == ("sluice-staging", "sluice")
