"""FSDP as it runs on GPUs, here on processors through gloo: curves, architectures, memory, checkpoints.

Each is compared with one process that trains the whole model.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.libraries import Library
from unit.extras.finetune.process import Ended, Training
from unit.extras.finetune.test_process_group import losses, together
from unit.extras.finetune.tiny import write_base

Library("peft")
pytestmark = [pytest.mark.drill, pytest.mark.timeout(1800)]  # of a busy machine a process may get little

FULL: dict[str, Any] = {"method": "full", "exports": ("merged",), "learning_rate": 1e-3}
METHODS: dict[str, dict[str, Any]] = {"lora": {}, "full": FULL}
Alone = Callable[..., Path]
SHARES = ((2, 0.6), (4, 0.35))  # processes, and how much of the whole each of them may hold


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Alone:
    """The folder of a run in one process, with the model of an architecture; made once for each."""
    made: dict[str, Path] = {}

    def run(architecture: str = "llama", **changes: Any) -> Path:
        key = json.dumps([architecture, changes], sort_keys=True)
        if key not in made:
            made[key] = tmp_path_factory.mktemp("alone")
            write_base(made[key] / "base", architecture=architecture)
            _require_well([Training(made[key], batch=4, **changes).end()])
        return made[key]

    return run


def _require_well(group: list[Ended]) -> None:
    for ended in group:
        assert ended.code == 0, ended.output


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("processes", [2, 4])
def test_shards_learn_what_the_whole_learns(place: Path, alone: Alone, processes: int, method: str) -> None:
    changes = METHODS[method]
    _require_well(together(place, *[""] * processes, batch=4, parallel="fsdp", **changes))
    assert losses(place) == pytest.approx(losses(alone(**changes)), abs=2e-3)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("architecture", ["qwen3", "mistral"])
def test_other_architectures_are_sharded_alike(tmp_path: Path, alone: Alone, architecture: str, method: str) -> None:
    changes = METHODS[method]
    write_base(tmp_path / "base", architecture=architecture)
    _require_well(together(tmp_path, "", "", batch=4, parallel="fsdp", **changes))
    assert losses(tmp_path) == pytest.approx(losses(alone(architecture, **changes)), abs=2e-3)


def test_weights_that_share_memory_are_sharded_as_one(tmp_path: Path) -> None:
    """Embeddings that are the output layer, too, as small models have them."""
    folders = [tmp_path / "alone", tmp_path / "shards"]
    for folder in folders:
        write_base(folder / "base", tie_word_embeddings=True)
    _require_well([Training(folders[0], **FULL).end()])
    _require_well(together(folders[1], "", "", parallel="fsdp", **FULL))
    assert losses(folders[1]) == pytest.approx(losses(folders[0]), abs=2e-3)


def test_in_bfloat16_and_recomputed_it_keeps_the_best_weights(place: Path, alone: Alone) -> None:
    """All that a large model needs at once: the loss on held rows, and what was best on them."""
    changes = {"dtype": "bfloat16", "gradient_checkpointing": True, "held_share": 0.5, "evaluate_every": 4}
    _require_well(together(place, "", "", batch=4, parallel="fsdp", **changes))
    found, expected = (json.loads((one / "out" / "training.json").read_text()) for one in (place, alone(**changes)))
    assert [step for step, _ in found["held_loss"]] == [4, 8, 12]
    for name in ("loss", "held_loss"):
        assert [loss for _, loss in found[name]] == pytest.approx([loss for _, loss in expected[name]], abs=5e-2)


@pytest.mark.parametrize(("later", "parallel"), [(2, "fsdp"), (2, "ddp"), (1, "ddp")])
def test_a_checkpoint_of_four_goes_on_in_fewer(place: Path, alone: Alone, later: int, parallel: str) -> None:
    ended = together(place, "", "", "", "kill:6", batch=4, parallel="fsdp", **FULL)
    assert ended[3].code == -9
    assert ended[0].code == 1, ended[0].output
    _require_well(together(place, *[""] * later, batch=4, parallel=parallel, **FULL))
    assert json.loads((place / "out" / "training.json").read_text())["resumed"] == [4]
    assert losses(place) == pytest.approx(losses(alone(**FULL)), abs=2e-3)
    _require_close(place, alone(**FULL))


def _require_close(place: Path, whole: Path) -> None:
    from safetensors.torch import load_file

    found, expected = (load_file(one / "out" / "merged" / "model.safetensors") for one in (place, whole))
    assert found.keys() == expected.keys()
    for name, value in found.items():
        assert float((value - expected[name]).abs().max()) < 1e-3, name


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process is read from /proc")
def test_each_process_needs_its_share_of_the_memory(tmp_path: Path) -> None:
    """Of 90 million weights, all trained: 1.4 GB of weights, gradients and moments where one process has the whole."""
    shape = {"layers": 24, "width": 640}
    few = {**FULL, "steps": 2, "batch": 4}
    peaks = {}
    for processes in (1, 2, 4):
        folder = tmp_path / str(processes)
        write_base(folder / "base", dtype="bfloat16", **shape)  # as models are published
        group = (
            [Training(folder, "weigh", **few).end()]
            if processes == 1
            else together(folder, *["weigh"] * processes, parallel="fsdp", **few)
        )
        _require_well(group)
        peaks[processes] = [int(found[1]) for one in group if (found := re.search(r"^peak (\d+)$", one.output, re.M))]
        print(processes, [f"{peak >> 20} MiB" for peak in peaks[processes]])
    (whole,) = peaks[1]
    for processes, most in SHARES:
        assert len(peaks[processes]) == processes
        assert max(peaks[processes]) <= most * whole, peaks
