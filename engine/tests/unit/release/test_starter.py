"""The trained starter. DVC itself adds and pushes the files, so the layout is that of the installed version."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sluice.core.atomic_files import read_json, write_atomic, write_json
from sluice.core.workspace import Workspace
from sluice.evaluation.response_cache import REBUILD, ResponseCache
from sluice.jobs.dvc_pipeline import dvc, hand_out
from sluice.release import starter
from unit.template.conftest import edit

ROOT = Path(__file__).parents[4]
TRAINING = {"hardware": {"device": "a processor", "torch": "2.13.0"}, "parameters": {"dtype": "float32"}}
KEY, SCORES, MISSED = "ab" * 32, "cd" * 32, "ef" * 32
ANSWER = {"text": "64 tokens", "finish_reason": "stop", "seconds": 1.0}


@pytest.fixture(scope="module")
def handed_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout whose starter was handed out by DVC; made-build/, made-starter/ and made-.sluice/ are what it had."""
    workspace = Workspace(tmp_path_factory.mktemp("starter") / "checkout")
    for name in ("prompts", "config"):
        shutil.copytree(ROOT / name, workspace.root / name)
    (workspace.root / "pipelines").mkdir()
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(ROOT / "pipelines" / name, workspace.root / "pipelines" / name)
    for name in ("train.jsonl", "eval.jsonl", "guard/train.jsonl", "corpus/chunking.md"):
        write_atomic(workspace.data / name, "Chunks overlap by 64 tokens.\n")
    assert dvc(workspace, "init", "--no-scm")[0]
    assert dvc(workspace, "remote", "add", "-d", "store", "dvc-store")[0]
    for names in starter.FILES.values():
        for name in names:
            write_json(workspace.build / name, TRAINING if name.endswith("training.json") else {"made": name})
    with pytest.MonkeyPatch.context() as rebuilt:
        rebuilt.setenv(REBUILD, "yes")
        cache = ResponseCache(starter.responses_folder(workspace.state))
        cache.put(KEY, ANSWER)
        cache.put(SCORES, {"scores": {"f1": 1.0}})
        cache.note_missing(MISSED, {"asked": "nobody"})
        list(hand_out(workspace))
    for name in ("build", "starter", ".sluice"):
        (workspace.root / name).rename(workspace.root / f"made-{name}")
    return workspace.root


@pytest.fixture
def tree(handed_out: Path, tmp_path: Path) -> Workspace:
    shutil.copytree(handed_out, tmp_path / "checkout")
    return Workspace(tmp_path / "checkout")


def test_an_untouched_tree_takes_its_files(tree: Workspace) -> None:
    for stage, names in starter.FILES.items():
        assert starter.take(tree, stage)
        for name in names:
            assert (tree.build / name).read_bytes() == (tree.root / "made-build" / name).read_bytes()


@pytest.mark.parametrize(
    ("file", "old", "new", "named"),
    [
        ("data/train.jsonl", "64", "65", "data/train.jsonl"),
        ("pipelines/params.yaml", "steps: 140", "steps: 141", "pipelines/params.yaml: train"),
        ("pipelines/dvc.yaml", "LoRA adapter from the training rows\n    meta: {recipe: 2}",
         "LoRA adapter from the training rows\n    meta: {recipe: 3}", "recipe of train"),
        ("data/corpus/chunking.md", "64", "65", "data/corpus"),
    ],
)  # fmt: skip
def test_a_change_of_what_is_learnt_trains(
    tree: Workspace, capsys: pytest.CaptureFixture[str], file: str, old: str, new: str, named: str
) -> None:
    edit(tree.root / file, old, new)
    assert not starter.take(tree, "train")
    assert f"{named} changed since the starter was trained" in capsys.readouterr().err
    assert not tree.build.exists()


@pytest.mark.parametrize("file", ["prompts/answer.prompt.yml", "data/eval.jsonl"])
def test_a_change_of_anything_else_does_not(tree: Workspace, file: str) -> None:
    path = tree.root / file
    path.write_text(path.read_text() + "\n")
    assert starter.take(tree, "train")
    assert starter.take(tree, "guard")


def _damaged(path: Path) -> None:
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1] + b"?")


@pytest.mark.parametrize(("spoil", "said"), [(_damaged, "damaged"), (Path.unlink, "missing")])
def test_a_file_that_is_not_whole_is_named_and_not_used(
    tree: Workspace, capsys: pytest.CaptureFixture[str], spoil: Callable[[Path], Any], said: str
) -> None:
    spoil(starter.objects(tree, tree.root / starter.POINTER)["adapter/adapter.gguf"])
    assert not starter.take(tree, "train")
    assert f"adapter/adapter.gguf is {said}" in capsys.readouterr().err
    assert not (tree.build / "adapter").exists()
    assert starter.take(tree, "guard")


@pytest.mark.parametrize("rebuild", [True, False])
def test_without_a_starter_nothing_is_taken(tree: Workspace, monkeypatch: pytest.MonkeyPatch, rebuild: bool) -> None:
    if rebuild:
        monkeypatch.setenv(REBUILD, "yes")
    else:
        (tree.root / starter.POINTER).unlink()
    assert not starter.take(tree, "train")
    starter.place_responses(tree)
    assert not tree.state.exists()


def test_recorded_answers_are_replayed_and_scores_are_not(tree: Workspace) -> None:
    starter.place_responses(tree)
    cache = ResponseCache(starter.responses_folder(tree.state))
    assert cache.get(KEY) == ANSWER
    assert cache.get(SCORES) is None
    assert cache.get(MISSED) is None


def test_a_newer_starter_replaces_the_objects_of_an_older_one(tree: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    old = starter.objects(tree, tree.root / starter.POINTER)["guard/report.json"]
    for name in ("build", ".sluice"):
        (tree.root / f"made-{name}").rename(tree.root / name)
    write_json(tree.build / "guard" / "report.json", {"made": "later"})
    with monkeypatch.context() as rebuilt:
        rebuilt.setenv(REBUILD, "yes")
        list(hand_out(tree))
    assert not old.exists()
    files = starter.objects(tree, tree.root / starter.POINTER)
    assert read_json(files["guard/report.json"]) == {"made": "later"}
    listed = starter.folder_list(tree, tree.root / starter.POINTER)
    assert {path for path in listed.parents[1].rglob("*") if path.is_file()} == {listed, *files.values()}
