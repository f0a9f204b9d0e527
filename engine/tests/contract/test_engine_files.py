"""The engine's files are as the template has them, and what is left is small enough to be a team's own."""

from __future__ import annotations

from pathlib import Path

from sluice.core.project import load_project
from sluice.template.owned import OWNED, edits, read_list, refused

MOST_FILES, MOST_LINES = 150, 1_000


def test_no_file_of_the_engine_was_edited(root: Path, tracked: list[str]) -> None:
    project, owned = load_project(root / "config"), read_list(root, OWNED)
    remedy = "`sluice engine check` writes the lists" if project.template is None else "use the extension points"
    assert not [str(edit) for edit in refused(edits(root, tracked), project.adopted, owned)], remedy


def test_a_project_owns_few_files_and_little_python(root: Path, tracked: list[str]) -> None:
    owned = read_list(root, OWNED)
    yours = [
        path
        for path in tracked
        if not path.startswith(("engine/", "dvc-store/")) and path not in owned and path != "data.dvc"
    ]
    if load_project(root / "config").template is None:  # a project may grow
        assert len(yours) <= MOST_FILES
        lines = {path: (root / path).read_text().count("\n") for path in yours if path.endswith(".py")}
        assert sum(lines.values()) <= MOST_LINES, lines
