"""The suite of test_sharded_training.py where there are GPUs: through nccl and in bfloat16, and QLoRA on one of them.

Figures carry the name of the card: `pytest -s` shows them, and training.json has it. Each process needs a card of its
own, for nccl takes no two of one. Without a GPU nothing of this runs, and the page of plans says so.
"""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import pytest

from support.libraries import Library
from unit.extras.finetune.process import Training
from unit.extras.finetune.test_process_group import losses, together
from unit.extras.finetune.test_sharded_training import (  # noqa: F401 - a fixture
    FULL,
    METHODS,
    SHARES,
    Alone,
    _require_well,
    alone,
)
from unit.extras.finetune.tiny import write_base

Library("peft")
pytestmark = [pytest.mark.drill, pytest.mark.timeout(1800)]  # of a busy machine a process may get little
GPU = {"device": "cuda", "dtype": "bfloat16"}
_NEAR = 5e-2  # bfloat16 has eight bits


def card(count: int) -> str:
    """The name of the cards; the test is skipped where there are fewer."""
    import torch

    if torch.cuda.device_count() < count:
        pytest.skip(f"not verified here: {count} GPUs are needed, {torch.cuda.device_count()} are there")
    return str(torch.cuda.get_device_name())


def figures(place: Path, name: str) -> dict[str, Any]:
    """training.json, which names the card; its figures are shown."""
    found: dict[str, Any] = json.loads((place / "out" / "training.json").read_text())
    assert found["hardware"]["device"] == name
    print(name, found["tokens_per_second"], "tokens/s, loss", found["loss"][0][1], "to", found["loss"][-1][1])
    return found


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("processes", [2, 4])
def test_shards_learn_what_the_whole_learns(
    place: Path,
    alone: Alone,  # noqa: F811
    processes: int,
    method: str,
) -> None:
    name, changes = card(processes), {**GPU, **METHODS[method]}
    _require_well(together(place, *[""] * processes, batch=4, parallel="fsdp", **changes))
    assert losses(place) == pytest.approx(losses(alone(**changes)), abs=_NEAR)
    figures(place, name)


def test_a_checkpoint_of_four_goes_on_in_two(place: Path, alone: Alone) -> None:  # noqa: F811
    name, changes = card(4), {**GPU, **FULL}
    ended = together(place, "", "", "", "kill:6", batch=4, parallel="fsdp", **changes)
    assert ended[3].code == -9
    _require_well(together(place, "", "", batch=4, parallel="fsdp", **changes))
    assert figures(place, name)["resumed"] == [4]
    assert losses(place) == pytest.approx(losses(alone(**changes)), abs=_NEAR)


@pytest.mark.parametrize(("processes", "most"), SHARES)
def test_each_card_holds_its_share(tmp_path: Path, processes: int, most: float) -> None:
    """What torch has allocated at most, of 90 million weights that are all trained."""
    name = card(processes)
    few, peaks = {**GPU, **FULL, "steps": 2, "batch": 4}, {}
    for count in (1, processes):
        folder = tmp_path / str(count)
        write_base(folder / "base", dtype="bfloat16", layers=24, width=640)
        if count == 1:
            group = [Training(folder, "weigh", **few).end()]
        else:
            group = together(folder, *["weigh"] * count, parallel="fsdp", **few)
        _require_well(group)
        peaks[count] = [int(found[1]) for one in group if (found := re.search(r"^peak (\d+)$", one.output, re.M))]
        print(name, count, [f"{peak >> 20} MiB" for peak in peaks[count]])
    assert len(peaks[processes]) == processes
    assert max(peaks[processes]) <= most * peaks[1][0], peaks


def test_qlora_learns_beside_packed_weights_and_is_exported(place: Path) -> None:
    name = card(1)
    if importlib.util.find_spec("bitsandbytes") is None:
        pytest.skip("not verified here: bitsandbytes is not installed (requirements/qlora.txt of finetune)")
    _require_well([Training(place, method="qlora", batch=4, **GPU).end()])
    found = figures(place, name)
    assert found["loss"][-1][1] < found["loss"][0][1]
    assert (place / "out" / "peft" / "adapter_model.safetensors").is_file()
