"""Weakness 8: a data set may not lead the reader out of its folder, or take all of the memory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sluice.core.atomic_files import read_json, read_jsonl
from sluice.core.errors import SluiceError
from sluice.data.contract import check
from sluice.data.rows import load_corpus, scan_corpus, scan_rows

LEVELS = 100_000
BOMB = "\n".join(
    ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
)
HEAD = "title: T\nlicence: CC0-1.0\nsource: made up\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data" / "corpus").mkdir(parents=True)
    (tmp_path / "data" / "corpus" / "one.md").write_text(f"---\nid: one\n{HEAD}---\n\nOne sentence.\n")
    for name in ("train", "eval"):
        (tmp_path / "data" / f"{name}.jsonl").write_text("")
    return tmp_path / "data"


def test_weakness_8_a_link_that_leads_out_is_a_fault_and_is_not_read(folder: Path) -> None:
    secret = folder.parent / "secret.md"
    secret.write_text(f"---\nid: secret\n{HEAD}---\n\nThe word is swordfish.\n")
    (folder / "corpus" / "inside.md").symlink_to(secret)
    (folder / "corpus" / "relative.md").symlink_to(Path("..") / ".." / "secret.md")
    said = [str(fault) for fault in check(folder).faults]
    assert sum("leads out of the folder" in fault for fault in said) == 2
    assert "swordfish" not in "".join(said)
    assert [found.value.id for found in scan_corpus(folder / "corpus")[0]] == ["one"]
    assert [document.id for document in load_corpus(folder / "corpus")] == ["one"]


def test_a_link_within_the_folder_and_a_folder_that_is_a_link_are_read(folder: Path) -> None:
    os.link(folder / "corpus" / "one.md", folder / "two.md")
    linked = folder.parent / "linked"
    linked.symlink_to(folder, target_is_directory=True)
    assert [document.id for document in load_corpus(linked / "corpus")] == ["one"]


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (BOMB, "more than 100000 keys"),
        ("title: &t [*t]", "nested too deeply, or an alias that contains itself"),
        (f"title: {'[' * 5000}{']' * 5000}", "nested too deeply, or an alias that contains itself"),
        ("title: T\ntitle: U", "key 'title' stands here twice"),
    ],
)
def test_weakness_8_front_matter_is_bounded(folder: Path, head: str, said: str) -> None:
    (folder / "corpus" / "bomb.md").write_text(f"---\n{head}\n---\n\nText.\n")
    (fault,) = [str(fault) for fault in scan_corpus(folder / "corpus")[1]]
    assert "bomb.md:" in fault
    assert f"front matter is not valid YAML: {said}" in fault


def test_what_a_fault_quotes_is_cut(folder: Path) -> None:
    (folder / "corpus" / "long.md").write_text(f"---\nid: long\n{HEAD}tenant: [{'x, ' * 9000}x]\n---\n\nText.\n")
    (fault,) = [str(fault) for fault in scan_corpus(folder / "corpus")[1]]
    assert len(fault) < 1000


@pytest.mark.parametrize("text", ["[" * LEVELS, '{"a":' * LEVELS, "9" * LEVELS, "[" * LEVELS + "]" * LEVELS])
def test_weakness_8_json_is_bounded(tmp_path: Path, text: str) -> None:
    path = tmp_path / "deep.json"
    path.write_text(text)
    with pytest.raises(SluiceError, match="not valid JSON"):
        read_json(path)
    with pytest.raises(SluiceError, match=r"deep.json:1: (not valid JSON|expected an object)"):
        read_jsonl(path)
    rows, faults = scan_rows(path)
    assert rows == []
    assert len(faults) == 1
