"""The engine's files are as the template has them."""

from __future__ import annotations

from pathlib import Path

from sluice.core.project import load_project
from sluice.template.owned import OWNED, edits, read_list, refused


def test_no_file_of_the_engine_was_edited(root: Path, tracked: list[str]) -> None:
    project, owned = load_project(root / "config"), read_list(root, OWNED)
    remedy = "`sluice engine check` writes the lists" if project.template is None else "use the extension points"
    assert not [str(edit) for edit in refused(edits(root, tracked), project.adopted, owned)], remedy
