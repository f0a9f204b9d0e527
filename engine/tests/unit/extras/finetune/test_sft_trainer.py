import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from sluice.core.digests import digest_of_file
from sluice.core.errors import SluiceError
from sluice.extras.finetune.base_model import ProcessGroup
from sluice.extras.finetune.training_parameters import TrainingParameters
from sluice.extras.finetune.training_record import TrainingRun
from support.libraries import Library
from unit.extras.finetune.process import Training
from unit.extras.finetune.tiny import PARAMS, model, tokenizer

Library("trl")
ALONE = ProcessGroup(0, 1, "cpu")
SHARED = list(range(20, 40))


def tokens(prompt: list[int], answer: list[int]) -> dict[str, list[int]]:
    return {"input_ids": prompt + answer, "labels": [-100] * len(prompt) + answer}


EXAMPLES = [
    tokens([*SHARED, 1, 2], [7, 8]),
    tokens([*SHARED, 3], [9]),
    tokens([*SHARED, 4, 5, 6], [10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20]),  # more than weigh less each
]


def fitted(params: TrainingParameters, folder: Path, **options: Any) -> tuple[Any, TrainingRun]:
    from sluice.extras.finetune.sft_trainer import arguments_of, fit

    arguments = arguments_of(params, ALONE)
    arguments.output_dir = str(folder)
    base = (options.get("model") or model(), tokenizer())
    told = options.get("on_progress", lambda *_: None)
    return fit(base, EXAMPLES, options.get("held", ()), params, arguments, told, ALONE)


def batches() -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the same examples in padded rows, and in one row without padding."""
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    padded = DataCollatorForLanguageModeling(pad_token_id=0)(EXAMPLES)
    flat = DataCollatorForLanguageModeling(pad_token_id=0, padding_free=True)(EXAMPLES)
    return padded, {name: flat[name] for name in ("input_ids", "labels", "position_ids")}


def plain_loss(whole: Any) -> float:
    import torch

    losses = []
    for example in EXAMPLES:
        ids, labels = (torch.tensor([example[name]]) for name in ("input_ids", "labels"))
        logits = whole(input_ids=ids).logits[0, :-1]
        each = torch.nn.functional.cross_entropy(logits, labels[0, 1:], ignore_index=-100, reduction="sum")
        losses.append(float(each) / min(8, int((labels != -100).sum())))
    return sum(losses) / len(losses)


def test_the_loss_is_that_of_each_answer_alone_padded_and_without_padding() -> None:
    import torch

    from sluice.extras.finetune.sft_trainer import answer_loss

    whole = model().eval()
    with torch.no_grad():
        expected = plain_loss(whole)
        for batch in batches():
            assert float(answer_loss(whole, batch)) == pytest.approx(expected, abs=1e-5)


def test_training_lowers_the_loss(tmp_path: Path) -> None:
    _, run = fitted(PARAMS, tmp_path)
    assert run.loss[-1][1] < run.loss[0][1]
    assert (run.answers, run.steps) == (24, 12)


@pytest.mark.parametrize("changes", [{"batch": 3, "accumulate": 2}, {"gradient_checkpointing": True}])
def test_accumulating_and_recomputing_change_nothing(tmp_path: Path, changes: dict[str, Any]) -> None:
    from sluice.extras.finetune.sft_trainer import loss_of

    found = []
    for number, more in enumerate(({}, changes)):
        params = PARAMS.model_copy(update={"steps": 1, "warmup": 0, "batch": 6, **more})
        trainer, run = fitted(params, tmp_path / str(number))
        found.append([run.loss[0][1], *(loss_of(trainer.model, example) for example in EXAMPLES)])
    assert found[1] == pytest.approx(found[0], abs=2e-4)


def test_a_target_that_the_model_has_not_is_named(tmp_path: Path) -> None:
    with pytest.raises(SluiceError, match=r"train\.targets.*no_such_projection"):
        fitted(PARAMS.model_copy(update={"targets": ("no_such_projection",)}), tmp_path)


def test_a_loss_that_is_no_number_stops_at_once(tmp_path: Path) -> None:
    import torch

    broken = model()
    with torch.no_grad():
        broken.model.norm.weight.fill_(float("nan"))
    steps: list[int] = []
    with pytest.raises(SluiceError, match="step 1 of 12: the loss is nan"):
        fitted(PARAMS, tmp_path, model=broken, on_progress=lambda step, *_: steps.append(step))
    assert steps == []


def test_it_stops_when_held_rows_are_no_longer_better_and_keeps_the_best(tmp_path: Path) -> None:
    from sluice.extras.finetune.sft_trainer import loss_of

    changes = {"steps": 60, "evaluate_every": 2, "patience": 3, "learning_rate": 0.05, "held_share": 0.2}
    held = tokens([*SHARED, 1, 2], [50, 51])
    trainer, run = fitted(PARAMS.model_copy(update=changes), tmp_path, held=[held])
    step, best = min(run.held_loss, key=lambda point: point[1])
    assert run.stopped
    assert run.steps == step + 6 < 60
    assert loss_of(trainer.model, held) == pytest.approx(best, abs=1e-4)


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Path:
    """A run that was killed at step 11 of 12, with checkpoints of the steps 4 and 8."""
    folder = tmp_path_factory.mktemp("killed")
    shutil.copytree(tiny_base, folder / "base")
    assert Training(folder, "kill:11").end().code == -9
    assert not (folder / "out").exists()
    return folder


@pytest.fixture
def left(killed: Path, tmp_path: Path) -> Path:
    shutil.copytree(killed, tmp_path, dirs_exist_ok=True)
    (newest,) = (tmp_path / "checkpoints").glob("*/checkpoint-8")
    return newest


def gone_on(place: Path) -> str:
    ended = Training(place).end()
    assert ended.code == 0, ended.output
    return ended.output


def test_a_run_that_was_killed_ends_as_one_that_was_not(left: Path, tmp_path: Path, unbroken: Path) -> None:
    assert left.is_dir()
    said = gone_on(tmp_path)
    assert "step 8 of 12" not in said
    assert "step 9 of 12" in said
    _require_equal(tmp_path, unbroken, resumed=[8])


def test_a_run_that_is_told_to_end_saves_first(place: Path, unbroken: Path) -> None:
    ended = Training(place, "end:5").end()
    assert ended.code == 128 + signal.SIGTERM, ended.output
    assert "which is saved" in ended.output
    assert not (place / "out").exists()
    (saved,) = ended.output.split("after step ")[1].split(",")[:1]
    gone_on(place)
    _require_equal(place, unbroken, resumed=[int(saved)])


def test_killed_during_the_export_it_trains_no_step_again(place: Path, unbroken: Path) -> None:
    assert Training(place, "kill:export").end().code == -9
    assert not [p for p in (place / "out").glob("*") if not p.name.startswith(".draft-")]
    assert "step 1" not in gone_on(place)  # nor 10 to 12
    _require_equal(place, unbroken, resumed=[12])


@pytest.mark.parametrize("how", ["a bit turned", "record cut short", "no record"])
def test_a_broken_checkpoint_is_passed_over(left: Path, tmp_path: Path, unbroken: Path, how: str) -> None:
    if how == "a bit turned":
        state = left / "optimizer.pt"
        state.write_bytes(state.read_bytes()[:-1] + b"?")
    elif how == "record cut short":
        (left / "files.json").write_text('{"optimizer.pt": "sha')
    else:
        (left / "files.json").unlink()
    assert ("checkpoint-8" in gone_on(tmp_path)) == (how != "no record")
    _require_equal(tmp_path, unbroken, resumed=[4])


def test_nothing_is_run_that_a_checkpoint_holds(left: Path, tmp_path: Path) -> None:
    import torch

    torch.save({"run": Path("x")}, left / "optimizer.pt")
    record = json.loads((left / "files.json").read_text())
    record["optimizer.pt"] = digest_of_file(left / "optimizer.pt")
    (left / "files.json").write_text(json.dumps(record))
    refused = Training(tmp_path).end()
    assert refused.code == 1, refused.output
    assert "checkpoint-8: torch cannot read this checkpoint" in refused.output


def test_a_full_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from trl import SFTTrainer

    def fails(*_: Any) -> None:
        raise RuntimeError("PytorchStreamWriter failed writing file")

    monkeypatch.setattr(SFTTrainer, "_save_checkpoint", fails)
    with pytest.raises(SluiceError, match=r"checkpoint-4: the checkpoint cannot be written.*\n.*free some space"):
        fitted(PARAMS, tmp_path)


def test_a_finished_run_leaves_nothing_and_few_unfinished_ones_are_kept(tmp_path: Path) -> None:
    import os

    from sluice.extras.finetune.sft_trainer import clear_checkpoints

    for number in range(5):
        (tmp_path / f"other{number}").mkdir()
        os.utime(tmp_path / f"other{number}", (number, number))
    (tmp_path / "done").mkdir()
    clear_checkpoints(tmp_path / "done")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["other2", "other3", "other4"]


def _require_equal(place: Path, unbroken: Path, *, resumed: list[int]) -> None:
    names = ("peft/adapter_model.safetensors", "peft/adapter_config.json", "loss.csv")
    for name in names:
        assert (place / "out" / name).read_bytes() == (unbroken / "out" / name).read_bytes(), name
    found, expected = (json.loads((folder / "out" / "training.json").read_text()) for folder in (place, unbroken))
    assert found["resumed"] == resumed
    for name in ("tokens", "answers", "loss", "data_digest", "base_sha256", "steps"):
        assert found[name] == expected[name], name
    assert list((place / "checkpoints").iterdir()) == []
    assert sorted(p.name for p in (place / "out").iterdir()) == ["loss.csv", "peft", "training.json"]
