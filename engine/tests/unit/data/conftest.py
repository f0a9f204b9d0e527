import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest

from sluice.core.workspace import Workspace
from support.aws.moto_server import s3_bucket
from support.git import commit_all, git

DOCUMENTS = {
    "tides": "The tide turns twice a day. A spring tide follows the full moon.",
    "dunes": "Dunes move with the wind. Marram grass holds them in place for 20 years.",
    "piers": "A pier stands on piles. Piles of oak last 50 years in salt water.",
}
TRAIN = [
    {"id": "t1", "question": "How often does the tide turn?", "answers": ["twice a day"], "doc_ids": ["tides"]},
    {"id": "t2", "question": "Which plant holds a dune?", "answers": ["Marram grass"], "doc_ids": ["dunes"]},
    {"id": "t3", "question": "Who painted the harbour wall?", "answers": [], "doc_ids": [], "tags": ["unanswerable"]},
]
EVALUATION = [
    {"id": "e1", "question": "What does a pier stand on?", "answers": ["piles"], "doc_ids": ["piers"], "tags": ["sea"]},
    {"id": "e2", "question": "Is the ferry late today?", "answers": [], "doc_ids": []},
]


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    data = tmp_path / "data"
    (data / "corpus").mkdir(parents=True)
    for name, text in DOCUMENTS.items():
        head = f"---\nid: {name}\ntitle: On {name}\nlicence: CC0-1.0\nsource: tests\n---\n\n"
        (data / "corpus" / f"{name}.md").write_text(head + text + "\n", encoding="utf-8")
    write_lines(data / "train.jsonl", TRAIN)
    write_lines(data / "eval.jsonl", EVALUATION)
    return data


@pytest.fixture
def add_row(folder: Path) -> Callable[..., None]:
    def add(file: str, **row: Any) -> None:
        full = {"id": "new", "question": "What is a groyne?", "answers": [], "doc_ids": [], **row}
        with (folder / file).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(full) + "\n")

    return add


@pytest.fixture
def checkout(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A checkout with the data, a remote `store` in a folder beside it, and nothing published yet."""
    root = tmp_path / "checkout"
    (root / "prompts").mkdir(parents=True)
    (root / "pyproject.toml").touch()
    folder.rename(root / "data")
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    make_checkout(root, str(tmp_path / "store"), cache=tmp_path / "site")
    return Workspace(root)


def make_checkout(root: Path, remote: str, *, cache: Path) -> None:
    """`git init`, `dvc init` and one commit. `cache`: where dvc notes what it knows of remotes."""
    (root / ".dvc").mkdir(exist_ok=True)
    (root / ".dvc" / "config").write_text(
        f"[core]\n    remote = store\n    analytics = false\n    site_cache_dir = {cache}\n"
        f"['remote \"store\"']\n    url = {remote}\n"
    )
    (root / ".gitignore").write_text("/data\n/build\n/.dvc/cache\n/.dvc/tmp\n/.sluice\n")
    git(root, "init", "--quiet", "--initial-branch=main")
    commit_all(root)


@pytest.fixture
def bucket(
    loopback: None,  # noqa: ARG001 - opens the network to this machine
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[str]:
    with s3_bucket(monkeypatch, tmp_path, "artefacts") as name:
        yield f"s3://{name}/sluice"


def pull_into_clone(checkout: Workspace) -> Path:
    from dvc.repo import Repo

    clone = checkout.root.parent / "clone"
    shutil.rmtree(clone, ignore_errors=True)
    git(checkout.root, "clone", "--quiet", str(checkout.root), str(clone))
    with chdir(clone), Repo() as repo:
        repo.pull(["data.dvc"])
    return clone / "data"
