"""Two processes that train one model, as torchrun starts them: the same curve as one alone, and one that is lost."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from sluice.core.processes import free_port
from support.libraries import Library
from unit.extras.finetune.process import Ended, Training

Library("peft")


def together(folder: Path, *deaths: str, **changes: Any) -> list[Ended]:
    """The processes of a group, each told where to die."""
    shared = {"WORLD_SIZE": str(len(deaths)), "LOCAL_WORLD_SIZE": str(len(deaths))}
    shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    group = [
        Training(folder, death, env=shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)}, **changes)
        for rank, death in enumerate(deaths)
    ]
    return [one.end() for one in group]


def losses(folder: Path) -> list[float]:
    with (folder / "out" / "loss.csv").open() as stream:
        return [float(row["loss"]) for row in csv.DictReader(stream)]


def test_two_processes_learn_what_one_learns(place: Path, unbroken: Path) -> None:
    for ended in together(place, "", ""):
        assert ended.code == 0, ended.output
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


def test_a_step_must_be_shared_evenly(place: Path) -> None:
    for ended in together(place, "", "", batch=3):
        assert ended.code == 1
        assert "2 processes cannot share the 3 packs of a step" in ended.output
        assert "multiple of 2" in ended.output


def test_two_processes_that_share_the_model_learn_what_one_learns(place: Path, unbroken: Path) -> None:
    """FSDP of two shards; test_sharded_training.py has more of it."""
    for ended in together(place, "", "", parallel="fsdp"):
        assert ended.code == 0, ended.output
    assert losses(place) == pytest.approx(losses(unbroken), abs=2e-3)
    assert (place / "out" / "peft" / "adapter_model.safetensors").is_file()


def test_packed_weights_are_not_sharded(place: Path) -> None:
    for ended in together(place, "", "", parallel="fsdp", method="qlora"):
        assert ended.code == 1
        assert "packed weights cannot be sharded" in ended.output
