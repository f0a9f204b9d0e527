# ruff: noqa: F811 - a fixture that is imported is named by the tests

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from sluice.core.workspace import Workspace
from sluice.data.contract import check, data_digest
from sluice.data.privacy import DataPolicy, PrivacyPolicy
from sluice.data.publish import push
from sluice.data.rows import load_rows
from sluice.extras.datakit.dataset import card, checked_out, diff, redact_folder
from support.git import commit_all
from unit.cli.published import here, run  # noqa: F401 - a fixture

MAIL = "first.last@" + "company.org"


def test_the_datasheet_counts_what_is_there(folder: Path, add_row: Callable[..., None]) -> None:
    source = {"file": "q.csv", "sha256": "a" * 64, "rows": 2, "licence": "MIT", "source": "a | b"}
    (folder / "sources.jsonl").write_text(json.dumps(source))
    page = card(folder, DataPolicy())
    for cells in (
        ("documents", "3", "", "13, 14, 14"),
        ("train questions", "3", "1", "5, 5, 6"),
        ("sea", "0", "1"),
        ("MIT", "a ¦ b", "2 rows of q.csv"),
        ("email", "refused here, replaced by importers"),
    ):
        assert f"| {' | '.join(f'`{cell}`' if cell else '' for cell in cells)} |" in page, cells
    assert data_digest(folder) in page
    assert "finds: 0." in page
    add_row("train.jsonl", question=" ")
    page = card(folder, DataPolicy(privacy=PrivacyPolicy(phone="allow")))
    assert "finds: 1." in page
    assert "| `phone` | `not looked for` |" in page


def test_every_change_is_told_by_id(folder: Path, tmp_path: Path, add_row: Callable[..., None]) -> None:
    base = Path(shutil.copytree(folder, tmp_path / "base"))
    nothing = {"added": [], "removed": [], "changed": {}}
    assert diff(base, folder) == {"documents": nothing, "train.jsonl": nothing, "eval.jsonl": nothing, "moved": {}}
    lines = (folder / "train.jsonl").read_text().splitlines()
    first, moved = json.loads(lines[0]), lines[2]
    first |= {"question": "How often a day does it turn?", "tags": ["sea"]}
    (folder / "train.jsonl").write_text(f"{json.dumps(first)}\n")
    with (folder / "eval.jsonl").open("a") as stream:
        stream.write(f"{moved}\n")
    add_row("eval.jsonl", id="e9")
    (folder / "corpus" / "dunes.md").unlink()
    path = folder / "corpus" / "piers.md"
    path.write_text(path.read_text().replace("oak", "steel"))
    assert diff(base, folder) == {
        "documents": {"added": [], "removed": ["dunes"], "changed": {"piers": ["text"]}},
        "train.jsonl": {"added": [], "removed": ["t2", "t3"], "changed": {"t1": ["question", "tags"]}},
        "eval.jsonl": {"added": ["e9", "t3"], "removed": [], "changed": {}},
        "moved": {"t3": "eval.jsonl"},
    }


def test_another_version_comes_from_the_cache_or_the_remote(checkout: Workspace) -> None:
    push(checkout, DataPolicy())
    first = commit_all(checkout.root)
    digest = data_digest(checkout.data)
    (checkout.data / "README.md").write_text("New.")
    push(checkout, DataPolicy())
    with checked_out(checkout, first) as cached:
        assert data_digest(cached) == digest
    shutil.rmtree(checkout.root / ".dvc" / "cache")  # then it comes from the remote
    with checked_out(checkout, first) as then:
        assert data_digest(then) == digest
    assert not then.exists()
    with checked_out(checkout, str(checkout.data)) as folder:
        assert folder == checkout.data


def test_documents_rows_and_answers_lose_the_same(folder: Path, add_row: Callable[..., None]) -> None:
    path = folder / "corpus" / "tides.md"
    path.write_text(path.read_text() + f"\nAsk {MAIL} about it.\n")
    add_row("train.jsonl", question=f"Who but {MAIL} knows?", answers=[MAIL, f"Ask {MAIL}"], doc_ids=["tides"])
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert len(check(folder).faults) == 2
    assert redact_folder(folder, PrivacyPolicy()) == {"documents": 1, "rows": 1}
    assert check(folder).faults == ()
    row = load_rows(folder / "train.jsonl")[-1]
    assert row.answers == ("[e-mail address]", "Ask [e-mail address]")
    changed = {path.name for path, content in before.items() if path.read_bytes() != content}
    assert changed == {"tides.md", "train.jsonl"}
    assert redact_folder(folder, PrivacyPolicy()) == {"documents": 0, "rows": 0}


def test_what_is_refused_or_cannot_be_read_stays(folder: Path) -> None:
    for path in (folder / "eval.jsonl", folder / "corpus" / "tides.md"):
        path.write_text(path.read_text() + f"Ask {MAIL}.\n")
    assert redact_folder(folder, PrivacyPolicy(email="refuse")) == {"documents": 0, "rows": 0}
    assert redact_folder(folder, PrivacyPolicy()) == {"documents": 1, "rows": 0}
    assert MAIL in (folder / "eval.jsonl").read_text()


def test_the_commands(here: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    path = here.data / "eval.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    difference = json.loads(run(capsys, "diff", "HEAD")[1])
    assert len(difference["eval.jsonl"]["removed"]) == 1
    assert "# Datasheet" in run(capsys, "card")[1]
    assert json.loads(run(capsys, "redact")[1]) == {"documents": 0, "rows": 0}
