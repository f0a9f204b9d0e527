"""Weakness 8: what is imported may not lead out of its folder, or end the process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sluice.core.errors import SluiceError, ValidationErrors
from sluice.data.data_policy import DataPolicy
from sluice.extras.importing import import_folder as folders
from sluice.extras.importing import import_source
from sluice.extras.importing.import_folder import FolderImport, import_folder
from sluice.extras.importing.import_source import import_any
from sluice.extras.importing.import_squad import squad
from sluice.extras.importing.import_table import TableLayout
from sluice.extras.importing.table_records import read_records

DEEP = 20_000
BOMB = "a: &a [x, x]\n" + "".join(f"{c}: &{c} [{f'*{b}, ' * 99}*{b}]\n" for b, c in ("ab", "bc", "cd"))


@pytest.fixture
def bring(tmp_path: Path) -> Callable[[], FolderImport]:
    (tmp_path / "in").mkdir()
    return lambda: import_folder(
        tmp_path / "in", tmp_path / "out", licence="CC0-1.0", source="made up", policy=DataPolicy()
    )


def test_a_link_that_leads_out_is_refused_and_nothing_is_written(
    bring: Callable[[], FolderImport], tmp_path: Path
) -> None:
    (tmp_path / "passwd").write_text("root:x:0:0")
    (tmp_path / "in" / "passwd.html").symlink_to(tmp_path / "passwd")
    (tmp_path / "in" / "good.md").write_text("# Good\n\nText.")
    with pytest.raises(ValidationErrors, match=r"passwd\.html:1: is a link that leads out of the folder"):
        bring()
    assert not (tmp_path / "out").exists()


def test_a_link_that_is_named_itself_is_read(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "real.md").write_text("# Good\n\nText.")
    (tmp_path / "link.md").symlink_to(tmp_path / "elsewhere" / "real.md")
    done = import_folder(tmp_path / "link.md", tmp_path / "out", licence="x", source="y", policy=DataPolicy())
    assert done.documents == 1


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("deep.html", "<div>" * DEEP + "x" + "</div>" * DEEP, "is nested too deeply"),
        ("bomb.md", f"---\n{BOMB}---\nText.", "more than 100000 keys"),
        ("deep.md", f"---\ntitle: {'[' * DEEP}\n---\nText.", "nested too deeply"),
    ],
)
def test_depth_and_anchors_are_bounded(
    bring: Callable[[], FolderImport], tmp_path: Path, name: str, text: str, said: str
) -> None:
    (tmp_path / "in" / name).write_text(text)
    with pytest.raises(ValidationErrors, match=said):
        bring()


def test_sizes_are_bounded(bring: Callable[[], FolderImport], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "_MOST_PDF_BYTES", 10_000)
    monkeypatch.setattr(import_source, "_MOST_BYTES", 10_000)
    (tmp_path / "in" / "large.pdf").write_bytes(b"%PDF-1.7" + bytes(10_000))
    with pytest.raises(ValidationErrors, match=r"large\.pdf:1: over 9 KiB: split it"):
        bring()
    for name in ("large.json", "large.csv", "large.jsonl"):
        (tmp_path / name).write_bytes(b" " * 10_001)
        with pytest.raises(SluiceError, match=f"{name}: over 0 MiB"):
            import_any(
                tmp_path / name,
                tmp_path / "out",
                data=tmp_path,
                layout=TableLayout({}),
                licence="CC0-1.0",
                origin="made up",
                train_articles=1,
                policy=DataPolicy(),
            )


@pytest.mark.parametrize("text", ["[" * DEEP * 5, '{"data": ' * DEEP * 5, "9" * 5000])
def test_json_is_bounded(tmp_path: Path, text: str) -> None:
    path = tmp_path / "deep.json"
    path.write_text(text)
    with pytest.raises(SluiceError, match=r"deep\.json: not valid JSON"):
        squad(path, tmp_path / "out", train_articles=1, licence="x", source="y")
    lines = tmp_path / "deep.jsonl"
    lines.write_text(text)
    assert len(read_records(lines).faults) == 1
