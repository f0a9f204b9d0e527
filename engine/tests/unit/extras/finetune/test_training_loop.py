"""The loop: learning rate, refusals, going on after a kill, stopping early."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from sluice.core.errors import SluiceError
from sluice.extras.finetune.checkpoints import Checkpoints
from sluice.extras.finetune.packing import Pack, TokenizedExample, pack, pack_loss
from sluice.extras.finetune.process_group import ProcessGroup
from sluice.extras.finetune.training_methods import add_adapter
from sluice.extras.finetune.training_parameters import TrainingParameters
from sluice.extras.finetune.training_record import TrainingRun
from unit.extras.finetune.process import Training
from unit.extras.finetune.tiny import PARAMS, model

ALONE = ProcessGroup(0, 1, "cpu")
SHARED = list(range(20, 40))
TOKENS = [
    TokenizedExample([*SHARED, 1, 2], [7, 8]),
    TokenizedExample([*SHARED, 3], [9]),
    TokenizedExample([*SHARED, 4, 5, 6], [10, 11, 12]),
]
PACKS, _ = pack(TOKENS, max_tokens=100, share=1)


def fitted(params: TrainingParameters, packs: list[Pack] = PACKS, **options: Any) -> TrainingRun:
    from sluice.extras.finetune.training_loop import fit

    trained = options.pop("model", None) or add_adapter(model(), params)
    with TemporaryDirectory() as folder:
        checkpoints = Checkpoints(Path(folder), "0" * 64)
        return fit(trained, packs, params, options.pop("on_progress", lambda *_: None), ALONE, checkpoints, **options)


def test_the_learning_rate_rises_and_falls_to_zero() -> None:
    from sluice.extras.finetune.pack_trainer import rate

    params = TrainingParameters(steps=20, warmup=4)
    rates = [rate(step, params) for step in range(21)]
    assert rates[:5] == sorted(rates[:5])
    assert rates[4] == 1.0
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert rates[20] == 0.0


def test_training_lowers_the_loss_and_repeats_itself() -> None:
    runs = [fitted(PARAMS) for _ in range(2)]
    assert runs[0].loss == runs[1].loss
    assert runs[0].loss[-1][1] < runs[0].loss[0][1]
    assert runs[0].answers == 24


def test_accumulating_is_a_larger_batch() -> None:
    larger = fitted(PARAMS.model_copy(update={"batch": 4}))
    more_often = fitted(PARAMS.model_copy(update={"batch": 2, "accumulate": 2}))
    assert more_often.loss == larger.loss
    assert more_often.answers == larger.answers == 48


def test_recomputing_activations_changes_nothing() -> None:
    plain = fitted(PARAMS)
    recomputed = fitted(PARAMS.model_copy(update={"gradient_checkpointing": True}))
    assert [loss for _, loss in recomputed.loss] == pytest.approx([loss for _, loss in plain.loss], abs=2e-4)


def test_a_loss_that_is_no_number_stops_at_once() -> None:
    torch = pytest.importorskip("torch")
    broken = model()
    with torch.no_grad():
        broken.model.norm.weight.fill_(float("nan"))
    steps: list[int] = []
    with pytest.raises(SluiceError, match="step 1 of 12: the loss is nan"):
        fitted(PARAMS, model=add_adapter(broken, PARAMS), on_progress=lambda step, *_: steps.append(step))
    assert steps == []


def test_it_stops_when_held_rows_are_no_longer_better_and_keeps_the_best() -> None:
    """The held answer contradicts what is learned, so its loss rises."""
    torch = pytest.importorskip("torch")
    params = PARAMS.model_copy(update={"steps": 60, "evaluate_every": 2, "patience": 3, "learning_rate": 0.05})
    held, _ = pack([TokenizedExample([*SHARED, 1, 2], [50, 51])], max_tokens=100, share=1)
    adapted = add_adapter(model(), params)
    run = fitted(params, model=adapted, held=held)
    step, best = min(run.held_loss, key=lambda point: point[1])
    assert run.stopped
    assert run.steps < 60
    assert run.steps == step + 6
    with torch.no_grad():
        kept = float(pack_loss(adapted, held[0], torch.float32))
    assert kept == pytest.approx(best, abs=1e-4)


def test_a_run_that_was_killed_ends_as_one_that_was_not(place: Path, unbroken: Path) -> None:
    assert Training(place, "kill:7").end().code == -9
    assert not (place / "out").exists()
    went_on = Training(place).end()
    assert went_on.code == 0, went_on.output
    assert "step 4 of 12" not in went_on.output
    assert "step 5 of 12" in went_on.output
    _require_equal(place, unbroken, resumed=[4])


def test_a_run_that_is_told_to_end_saves_first(place: Path, unbroken: Path) -> None:
    """As on a spot machine: no step is lost, not even one that no checkpoint was due after."""
    ended = Training(place, "end:5").end()
    assert ended.code == 128 + signal.SIGTERM, ended.output
    assert "after step 6, which is saved" in ended.output
    assert not (place / "out").exists()
    went_on = Training(place).end()
    assert went_on.code == 0, went_on.output
    _require_equal(place, unbroken, resumed=[6])


def test_killed_during_the_export_it_trains_no_step_again(place: Path, unbroken: Path) -> None:
    assert Training(place, "kill:export").end().code == -9
    assert not [p for p in (place / "out").glob("*") if not p.name.startswith(".draft-")]
    went_on = Training(place).end()
    assert went_on.code == 0, went_on.output
    assert "step" not in went_on.output
    _require_equal(place, unbroken, resumed=[12])


def test_a_broken_checkpoint_is_passed_over(place: Path, unbroken: Path) -> None:
    assert Training(place, "kill:11").end().code == -9
    (newest,) = (place / "checkpoints").glob("*/checkpoint-8/optimizer.pt")
    newest.write_bytes(newest.read_bytes()[:-1] + b"?")
    went_on = Training(place).end()
    assert went_on.code == 0, went_on.output
    assert "checkpoint-8 does not match the sha256 of optimizer.pt" in went_on.output
    _require_equal(place, unbroken, resumed=[4])


def test_nothing_is_run_that_a_checkpoint_holds(place: Path) -> None:
    """Its digests guard against broken disks; torch refuses what would call code."""
    torch = pytest.importorskip("torch")
    assert Training(place, "kill:7").end().code == -9
    (state,) = (place / "checkpoints").glob("*/checkpoint-4/optimizer.pt")
    torch.save({"run": Path("x")}, state)
    with Checkpoints(place, "0" * 64).written(state.parent):
        pass
    refused = Training(place).end()
    assert refused.code == 1, refused.output
    assert "checkpoint-4: torch cannot read this checkpoint" in refused.output


def _require_equal(place: Path, unbroken: Path, *, resumed: list[int]) -> None:
    """The adapter bit by bit, the record but for times; and nothing is left behind."""
    names = ("peft/adapter_model.safetensors", "peft/adapter_config.json", "loss.csv")
    for name in names:
        assert (place / "out" / name).read_bytes() == (unbroken / "out" / name).read_bytes(), name
    found, expected = (json.loads((folder / "out" / "training.json").read_text()) for folder in (place, unbroken))
    assert found["resumed"] == resumed
    for name in ("tokens", "answers", "loss", "data_digest", "base_sha256", "steps"):
        assert found[name] == expected[name], name
    assert list((place / "checkpoints").iterdir()) == []
    assert sorted(p.name for p in (place / "out").iterdir()) == ["loss.csv", "peft", "training.json"]
