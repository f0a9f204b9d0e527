"""config/project.yaml: every key is there and right, and a release keeps only what it is served by."""

from __future__ import annotations

from pathlib import Path

import pytest

from sluice.core.errors import SluiceError
from sluice.core.project import load_project, released_application

ROOT = Path(__file__).parents[4]
FILE = (ROOT / "config" / "project.yaml").read_text()


def test_the_file_of_the_repository() -> None:
    project = load_project(ROOT / "config")
    assert (project.name, project.environments) == ("sluice", ("staging", "production"))
    assert project.application == "assistant.app:build"


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("application: assistant.app:build", "", r"project.yaml:\d+: application: Field required"),
        ("assistant.app:build", "assistant/app.py", r"project.yaml:7: application: String should match"),
        ("region:", "regoin:", r"regoin: unknown key \(did you mean 'region'\?\)"),
        ("[staging, production]", "[]", "environments: Tuple should have at least 1 item"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, old: str, new: str, fault: str) -> None:
    assert old in FILE
    (tmp_path / "project.yaml").write_text(FILE.replace(old, new))
    with pytest.raises(SluiceError, match=fault):
        load_project(tmp_path)


def test_a_release_made_before_there_was_the_key_is_the_assistant(tmp_path: Path) -> None:
    assert released_application(tmp_path) == "assistant.app:build"
    (tmp_path / "project.yaml").write_text("application: other.app:make\n")
    assert released_application(tmp_path) == "other.app:make"
