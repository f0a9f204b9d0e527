"""A recipe changes with what decides about the adapter alone; equal content is one archive, which is sent once."""

import os
import shutil
import tarfile
from pathlib import Path

import boto3
import pytest

from sluice.core.errors import SluiceError
from sluice.core.params import set_params
from sluice.core.workspace import Workspace
from sluice.extras.finetune.training_parameters import TrainingParameters
from sluice.extras.sagemaker.settings import require
from sluice.extras.sagemaker.sources import pack, recipe_of, send
from support.aws.sagemaker_runs import BUCKET, ROOT, write_settings

DECIDES = (
    "data/train.jsonl",
    "data/corpus/canary.md",
    "engine/src/sluice/extras/finetune/train_stage.py",
    "engine/src/sluice/core/atomic_files.py",
    "engine/requirements/train.txt",
    "prompts/finetune.prompt.yml",
)
DECIDES_NOTHING = (
    "data/eval.jsonl",
    "engine/src/sluice/rollout/canary_plan.py",
    "prompts/answer.prompt.yml",
    "config/gates.yaml",
    "pipelines/params.yaml",  # of which single values count
)


def test_a_recipe_changes_with_what_decides_about_the_adapter_and_with_nothing_else(workspace: Workspace) -> None:
    for name in ("src", "engine/src", "engine/requirements"):
        shutil.copytree(ROOT / name, workspace.root / name, ignore=shutil.ignore_patterns("__pycache__"))
    found = recipe_of(workspace, "image")
    for name in DECIDES_NOTHING:
        with (workspace.root / name).open("a") as stream:
            stream.write("\n# another\n")
    (workspace.build / "index").mkdir(parents=True)
    (workspace.build / "index" / "index.json").write_text("{}")  # what stages make of one another
    assert recipe_of(workspace, "image") == found
    assert recipe_of(workspace, "another image") != found
    recipes = [found]
    for name in DECIDES:
        with (workspace.root / name).open("a") as stream:
            stream.write("\n# another\n")
        recipes.append(recipe_of(workspace, "image"))
        assert recipes.count(recipes[-1]) == 1, name
    set_params(workspace.params, ["train.steps=9"], {"train": TrainingParameters})
    assert recipe_of(workspace, "image") not in recipes
    (workspace.data / "train.jsonl").unlink()
    with pytest.raises(SluiceError, match=r"data/train\.jsonl: no such file") as caught:
        recipe_of(workspace, "image")
    assert "dvc pull" in caught.value.remedy


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    made = [tmp_path / "tree" / name for name in ("b.txt", "a.txt", "deep/run.sh")]
    for path in made:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(path.name)
    made[2].chmod(0o755)
    return made


def test_times_order_and_owners_do_not_count(files: list[Path], tmp_path: Path) -> None:
    base = tmp_path / "tree"
    pack(base, files, tmp_path / "one")
    os.utime(files[0], (1, 1))
    pack(base, [*reversed(files), base / "deep"], tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    with tarfile.open(tmp_path / "one") as packed:
        held = {entry.name: (entry.mode, entry.mtime, entry.uid) for entry in packed}
    assert held == {"a.txt": (0o644, 0, 0), "b.txt": (0o644, 0, 0), "deep/run.sh": (0o755, 0, 0)}


@pytest.mark.usefixtures("played")
def test_what_is_there_is_not_sent_again(files: list[Path], tmp_path: Path) -> None:
    write_settings(tmp_path)
    settings, s3 = require(tmp_path), boto3.client("s3")
    first = send(s3, settings, tmp_path / "tree", files)
    (before,) = s3.list_objects_v2(Bucket=BUCKET)["Contents"]
    assert send(s3, settings, tmp_path / "tree", files) == first
    (after,) = s3.list_objects_v2(Bucket=BUCKET)["Contents"]
    assert before["LastModified"] == after["LastModified"]
    files[0].write_text("other")
    assert send(s3, settings, tmp_path / "tree", files) != first
    assert first.startswith(f"s3://{BUCKET}/training/sources/")
