"""A recipe changes with what decides about the adapter, and with nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pytest

from sluice.core.errors import SluiceError
from sluice.core.params import set_params
from sluice.core.workspace import Workspace
from sluice.extras.finetune.training_parameters import TrainingParameters
from sluice.extras.sagemaker.recipe import recipe_of
from sluice.retrieval.index_stage import IndexParameters
from support.aws.sagemaker_runs import ROOT


@pytest.fixture
def checkout(workspace: Workspace) -> Workspace:
    """With the code that stages depend on."""
    for name in ("src", "engine/src", "engine/requirements"):
        shutil.copytree(ROOT / name, workspace.root / name, ignore=shutil.ignore_patterns("__pycache__"))
    return workspace


def append(name: str) -> Callable[[Workspace], None]:
    def edit(workspace: Workspace) -> None:
        with (workspace.root / name).open("a") as stream:
            stream.write("\n# another\n")

    return edit


def params(assignment: str) -> Callable[[Workspace], None]:
    sections = {"train": TrainingParameters, "index": IndexParameters}
    return lambda workspace: set_params(workspace.params, [assignment], sections)


@pytest.mark.parametrize(
    ("edit", "another"),
    [
        (append("data/train.jsonl"), True),
        (append("data/corpus/canary.md"), True),
        (append("engine/src/sluice/extras/finetune/train_stage.py"), True),
        (append("prompts/finetune.prompt.yml"), True),
        (params("train.steps=9"), True),
        (append("data/eval.jsonl"), False),
        (append("engine/src/sluice/core/atomic_files.py"), True),
        (append("engine/requirements/train.txt"), True),
        (append("engine/src/sluice/rollout/canary_plan.py"), False),
        (append("prompts/answer.prompt.yml"), False),
        (append("config/gates.yaml"), False),
        (append("pipelines/params.yaml"), False),
    ],
)
def test_what_changes_a_recipe(checkout: Workspace, edit: Callable[[Workspace], None], another: bool) -> None:
    before = recipe_of(checkout, "image")
    edit(checkout)
    assert (recipe_of(checkout, "image") != before) is another


def test_another_image_is_another_recipe(checkout: Workspace) -> None:
    assert recipe_of(checkout, "one") != recipe_of(checkout, "two")


def test_what_stages_make_of_one_another_is_no_part_of_it(checkout: Workspace) -> None:
    before = recipe_of(checkout, "image")
    (checkout.build / "index").mkdir(parents=True)
    (checkout.build / "index" / "index.json").write_text("{}")
    assert recipe_of(checkout, "image") == before


def test_a_dependency_that_is_missing_is_named(checkout: Workspace) -> None:
    (checkout.data / "train.jsonl").unlink()
    with pytest.raises(SluiceError, match=r"data/train\.jsonl: no such file") as caught:
        recipe_of(checkout, "image")
    assert "dvc pull" in caught.value.remedy
