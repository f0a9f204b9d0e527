"""What a training needs, by torch's own count: against published numbers, a real pass, and the cards of machines."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from sluice.core.errors import SluiceError
from sluice.core.workspace import Workspace
from sluice.extras.finetune import training_plan
from sluice.extras.finetune.gpu_machines import gpu_machines, gpus_of, machine_of
from sluice.extras.finetune.model_count import ModelCount, count_model
from sluice.extras.finetune.packing import Pack, pack_loss
from sluice.extras.finetune.training_methods import prepare
from sluice.extras.finetune.training_parameters import TrainingParameters, UntrainableError
from sluice.extras.finetune.training_plan import GIB, TrainingMachines, memory_need, plan
from support.libraries import Library
from unit.extras.finetune.configs import LLAMA_8B, LLAMA_70B, write_config, write_models
from unit.extras.finetune.tiny import PARAMS, model

Library("peft")
FULL: dict[str, Any] = {"method": "full", "exports": ("merged",)}


def counted(config: dict[str, Any], **params: Any) -> tuple[ModelCount, TrainingParameters]:
    chosen = TrainingParameters.model_validate(params)
    return _count(json.dumps(config), chosen.model_dump_json()), chosen


@cache
def _count(config: str, params: str) -> ModelCount:
    """Takes seconds, and several tests ask for the same."""
    from transformers import AutoConfig

    model_config = AutoConfig.for_model(**json.loads(config))
    return count_model(model_config, TrainingParameters.model_validate_json(params), gpu=True)


def per_device(config: dict[str, Any], processes: int, **params: Any) -> float:
    """GiB."""
    return memory_need(*counted(config, **params), processes, processes).total / GIB


def test_weights_are_those_that_the_makers_publish() -> None:
    """Llama 3.1's model cards: 8,030,261,248, and below 70,553,706,496. An adapter of rank 16 on the seven projections
    of the 8B has 41,943,040, which every trainer of it prints."""
    eight, _ = counted(LLAMA_8B)
    assert eight.weights == 8_030_261_248
    assert eight.adapter == 41_943_040


def test_operations_are_six_for_each_weight_and_token_and_four_where_the_base_is_frozen() -> None:
    """The rule of thumb of Kaplan et al. 2020, appendix B; embeddings are looked up, and few positions have logits."""
    for method, each in (({"method": "lora"}, 4), (FULL, 6)):
        count, _ = counted(LLAMA_8B, **method)
        multiplied = count.packable + count.adapter
        assert count.operations / count.tokens == pytest.approx(each * multiplied, rel=0.06)


def test_what_is_kept_on_the_meta_device_is_what_is_kept_in_memory() -> None:
    """The same pass with real numbers: torch's saved tensors, by their storages."""
    import torch

    params = PARAMS.model_copy(update={"max_tokens": 96})
    real = prepare(model(), params).train()
    real.set_attn_implementation("grouped")
    count = count_model(real.config, params, gpu=False)
    own = {weight.untyped_storage().data_ptr() for weight in real.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = pack_loss(real, Pack([0] * 48, [[0] * 48], [48]), torch.float32)
    assert loss.requires_grad
    assert count.kept == pytest.approx(sum(kept.values()), rel=0.02)
    assert count.weights == sum(weight.numel() for weight in model().parameters())


def test_recomputing_keeps_less_and_multiplies_more() -> None:
    plain, _ = counted(LLAMA_8B)
    recomputed, _ = counted(LLAMA_8B, gradient_checkpointing=True)
    assert recomputed.kept < plain.kept / 10
    assert recomputed.operations == pytest.approx(1.5 * plain.operations, rel=0.05)


def test_what_an_8b_needs() -> None:
    """By hand: 16 bytes for each weight in all, or 2 for each that is frozen, and the activations. With shards also 2
    for each of embeddings and head, of two layers, and of the gradients of embeddings and head, which are whole."""
    lora = per_device(LLAMA_8B, 1)
    assert lora == pytest.approx(2 * 8.03e9 / GIB + 16 * 0.042e9 / GIB + 6.3, abs=0.6)
    shards = [per_device(LLAMA_8B, world, parallel="fsdp", gradient_checkpointing=True, **FULL) for world in (4, 8)]
    whole = 2 * (1.05e9 + 2 * 0.218e9 + 1.05e9)
    assert shards[0] == pytest.approx((16 * 8.03e9 / 4 + whole) / GIB + 0.5, abs=0.3)
    assert shards[1] == pytest.approx((16 * 8.03e9 / 8 + whole) / GIB + 0.5, abs=0.3)
    packed = per_device(LLAMA_8B, 1, method="qlora", gradient_checkpointing=True)
    assert packed == pytest.approx((0.516 * 6.98e9 + 4 * 1.05e9 + 16 * 0.042e9) / GIB, abs=0.8)


@pytest.mark.parametrize(
    ("name", "count"), [("ml.g5.xlarge", 1), ("ml.g5.12xlarge", 4), ("ml.p5.48xlarge", 8), ("ml.m5.xlarge", 0)]
)
def test_gpus_of_a_machine(name: str, count: int) -> None:
    assert gpus_of(name) == count
    assert gpus_of("ml.trn1.2xlarge") is None
    assert machine_of("ml.g5.7xlarge") is None
    assert all(one.card.tflops for one in gpu_machines())


def planned(workspace: Workspace, base: Path, machine: str = "", **params: Any) -> list[str]:
    whole = yaml.safe_load(workspace.params.read_text())
    whole["train"] |= params
    workspace.params.write_text(yaml.safe_dump(whole))
    named = machine_of(machine) if machine else None
    return list(plan(workspace, TrainingMachines(named, 1, 5.0) if named else None, base))


def test_what_does_not_fit_is_refused_with_what_does(workspace: Workspace, tmp_path: Path) -> None:
    base = write_config(tmp_path / "base", LLAMA_8B)
    with pytest.raises(UntrainableError, match=r"each A10G needs .* GiB, and has 22\.1 GiB to give\n.*ml\.g6e\.xlarge"):
        planned(workspace, base, "ml.g5.12xlarge", accumulate=2)
    lines = planned(workspace, base, "ml.g5.12xlarge", parallel="fsdp")
    assert any("on each of 4 × A10G (24 GiB) of 1 × ml.g5.12xlarge" in line for line in lines)
    assert any(line.startswith("cost      $") for line in lines)
    with pytest.raises(UntrainableError, match="a T4 has no bfloat16"):
        planned(workspace, base, "ml.g4dn.xlarge")
    with pytest.raises(UntrainableError, match="a step"):
        planned(workspace, base, "ml.p4d.24xlarge", batch=3)


def test_of_named_weights_the_config_alone_is_fetched(workspace: Workspace, tmp_path: Path) -> None:
    write_models(workspace, tmp_path / "llama", LLAMA_8B)
    assert next(iter(plan(workspace))) == "model     8.03 billion weights"
    assert not (workspace.cache / "models" / ("0" * 16)).exists()
    (tmp_path / "llama" / "config.json").write_text("{}")
    with pytest.raises(SluiceError, match=r"config/models\.yaml pins"):
        list(plan(workspace))


def test_what_is_no_model_is_said(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(SluiceError, match=r"the base model is missing.*\n.*sluice models pull"):
        list(plan(workspace, base=tmp_path / "none"))
    with pytest.raises(SluiceError, match="transformers cannot read what model this is"):
        list(plan(workspace, base=write_config(tmp_path / "base", {"model_type": "no such"})))
    with pytest.raises(SluiceError, match="has no causal model"):
        list(plan(workspace, base=write_config(tmp_path / "other", {"model_type": "vit"})))


def test_the_command_says_it_and_trains_nothing(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import typer

    from sluice.extras.finetune.cli import train

    monkeypatch.chdir(workspace.root)
    app = typer.Typer()
    app.command()(train)
    said = CliRunner().invoke(app, ["--dry-run", "--base", str(write_config(tmp_path / "base", LLAMA_8B))])
    assert said.exit_code == 0, said.output
    assert "fits      ml.g6e.xlarge" in said.output
    assert not workspace.build.exists()


@pytest.mark.drill
def test_the_table_of_the_page_is_what_the_plan_says(root: Path) -> None:
    text = (root / "engine" / "docs" / "reference" / "training-plans.md").read_text()
    rows = re.findall(
        r"^\| (8B|70B) \| (\w+), (\w+) \| (yes|no) \| 1 × (\S+) \| (.*?) \| (.*?) \| (.*?) \|$", text, re.MULTILINE
    )
    assert len(rows) == 6
    for size, method, parallel, recomputed, name, each, host, speed in rows:
        exports = ("merged",) if method == "full" else ("gguf",)
        changes = {"method": method, "parallel": parallel, "gradient_checkpointing": recomputed == "yes", "batch": 8}
        count, params = counted({"8B": LLAMA_8B, "70B": LLAMA_70B}[size], exports=exports, **changes)
        machine = machine_of(name)
        assert machine
        line = training_plan.fits(count, params, TrainingMachines(machine))
        assert line.endswith(f"{each} each, {speed} tokens/s, {line.rpartition(', ')[2]}"), line
        need = memory_need(count, params, machine.count, machine.count)
        assert f"{need.host / GIB:.1f} GiB" == host
