"""Processes that train one model, as torchrun starts them. FSDP runs on processors here, through gloo."""

import csv
import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from sluice.core.processes import free_port
from support.libraries import Library
from unit.extras.finetune.process import Ended, Training
from unit.extras.finetune.tiny import write_base

Library("trl")
FULL: dict[str, Any] = {"method": "full", "exports": ("merged",), "learning_rate": 1e-3}


def together(folder: Path, *deaths: str, **changes: Any) -> list[Ended]:
    shared = {"WORLD_SIZE": str(len(deaths)), "LOCAL_WORLD_SIZE": str(len(deaths))}
    shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    group = [
        Training(folder, death, env=shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)}, **changes)
        for rank, death in enumerate(deaths)
    ]
    return [one.end() for one in group]


def require_well(group: list[Ended]) -> None:
    for ended in group:
        assert ended.code == 0, ended.output


def losses(folder: Path) -> list[float]:
    with (folder / "out" / "loss.csv").open() as stream:
        return [float(row["loss"]) for row in csv.DictReader(stream)]


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_processes_learn_what_one_learns(place: Path, unbroken: Path, parallel: str) -> None:
    require_well(together(place, "", "", parallel=parallel))
    assert losses(place) == pytest.approx(losses(unbroken), abs=2e-3)
    assert (place / "out" / "peft" / "adapter_model.safetensors").is_file()


def test_a_lost_process_is_named_and_the_others_go_on_later(place: Path, unbroken: Path) -> None:
    first, lost = together(place, "", "kill:6")
    assert lost.code == -9
    assert first.code == 1, first.output
    assert "another training process died" in first.output
    assert "resumes from the last checkpoint" in first.output
    assert not (place / "out").exists()
    ended = Training(place).end()  # alone: the checkpoint does not ask how many made it
    assert ended.code == 0, ended.output
    assert "step 4 of 12" not in ended.output
    assert losses(place) == pytest.approx(losses(unbroken), abs=2e-3)


@pytest.mark.drill
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("architecture", ["llama", "qwen3", "mistral"])
def test_all_weights_are_trained_in_shards(tmp_path: Path, architecture: str) -> None:
    folders = [tmp_path / "alone", tmp_path / "shards"]
    for folder in folders:
        write_base(folder / "base", architecture=architecture, tie_word_embeddings=architecture == "llama")
    require_well([Training(folders[0], **FULL).end()])
    require_well(together(folders[1], "", "", parallel="fsdp", **FULL))
    assert losses(folders[1]) == pytest.approx(losses(folders[0]), abs=2e-3)


@pytest.mark.drill
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("changes", [{}, FULL], ids=["lora", "full"])
def test_a_checkpoint_of_four_shards_goes_on_in_two(place: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    write_base(tmp_path / "alone" / "base")
    require_well([Training(tmp_path / "alone", batch=4, **changes).end()])
    ended = together(place, "", "", "", "kill:6", batch=4, parallel="fsdp", **changes)
    assert ended[3].code == -9
    assert ended[0].code == 1, ended[0].output
    require_well(together(place, "", "", batch=4, parallel="fsdp", **changes))
    assert json.loads((place / "out" / "training.json").read_text())["resumed"] == [4]
    assert losses(place) == pytest.approx(losses(tmp_path / "alone"), abs=2e-3)


@pytest.mark.drill
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("changes", [{"parallel": "fsdp"}, {"parallel": "fsdp", **FULL}, {"method": "qlora"}])
def test_on_gpus(place: Path, changes: dict[str, Any]) -> None:
    """In shards through nccl, which takes no two processes of one card, and QLoRA on one. `pytest -s` shows figures."""
    import torch

    processes = 2 if "parallel" in changes else 1
    if torch.cuda.device_count() < processes:
        pytest.skip(f"not verified here: {processes} GPUs are needed, {torch.cuda.device_count()} are there")
    if processes == 1 and importlib.util.find_spec("bitsandbytes") is None:
        pytest.skip("not verified here: bitsandbytes is not installed (requirements/qlora.txt of finetune)")
    require_well(together(place, *[""] * processes, device="cuda", dtype="bfloat16", batch=4, **changes))
    record = json.loads((place / "out" / "training.json").read_text())
    assert record["hardware"]["device"] == torch.cuda.get_device_name()
    print(record["hardware"]["device"], record["tokens_per_second"], "tokens/s", record["loss"])
    assert record["loss"][-1][1] < record["loss"][0][1]
