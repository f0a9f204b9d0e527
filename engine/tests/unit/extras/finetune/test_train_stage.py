import json
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from conftest import ROOT
from sluice.core.digests import digest_of_file
from sluice.core.errors import SluiceError
from sluice.core.workspace import Workspace
from sluice.extras.finetune import exports, train_stage
from sluice.extras.finetune.dataset import Example
from sluice.extras.finetune.exports import BaseModelShape
from sluice.extras.finetune.train_stage import TrainingPaths, run, train
from sluice.extras.finetune.training_parameters import TrainingParameters
from sluice.llm import model_files
from sluice.llm.model_files import PinnedFiles, ensure, ensure_source, load_models
from support.libraries import Library
from support.providers.clients import ask_local
from unit.extras.finetune import tiny
from unit.extras.finetune.tiny import EXAMPLES

Library("trl")
LONG = Example("long", ({"role": "user", "content": "x" * 200},), "y", False)


trained = partial(tiny.trained, steps=2)


def test_no_examples_and_no_base_are_errors(tmp_path: Path) -> None:
    with pytest.raises(SluiceError, match="no training examples"):
        trained(tmp_path, [])
    with pytest.raises(SluiceError, match="base: the base model is missing"):
        trained(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"batch": 3}, r"2 processes cannot share the 3 examples of a step\n.*multiple of 2"),
        ({"parallel": "fsdp", "method": "qlora"}, "packed weights cannot be sharded"),
    ],
)
def test_processes_that_cannot_share_the_work_are_refused_before_they_join(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], said: str
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SluiceError, match=said):
        trained(tmp_path, **changes)


def test_rows_longer_than_the_context_are_counted_and_reported(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trained(place, [*EXAMPLES, LONG], max_tokens=100_000)
    assert "train: 1 of 5 examples are longer than 128 tokens: left out" in capsys.readouterr().err
    assert json.loads((place / "out" / "training.json").read_text())["skipped"] == 1
    with pytest.raises(SluiceError, match="all 4 training examples are longer than 16 tokens"):
        trained(place, max_tokens=16)


def test_no_memory_is_said_with_what_to_change(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 9 bytes")

    monkeypatch.setattr("sluice.extras.finetune.sft_trainer.answer_loss", fails)
    with pytest.raises(SluiceError, match=r"more memory than there is.*\n.*lower train\.batch"):
        trained(place)
    assert not (place / "out").exists()


@pytest.mark.parametrize("accepted", [True, False], ids=["llama.cpp takes it", "llama.cpp refuses it"])
def test_the_adapter_appears_whole_and_tried_or_not_at_all(
    place: Path, monkeypatch: pytest.MonkeyPatch, accepted: bool
) -> None:
    out = place / "out"

    def probe(_: Path, adapter: Path) -> None:
        assert adapter.stat().st_size > 0
        assert not (out / "adapter.gguf").exists()
        if not accepted:
            raise SluiceError("llama.cpp cannot load it")

    monkeypatch.setattr(exports, "probe", probe)
    monkeypatch.setattr(train_stage, "_shape", lambda *_: BaseModelShape("llama", 2, 4, 2))
    if accepted:
        assert trained(place, exports=("gguf",)) == {"gguf": out / "adapter.gguf"}
        assert sorted(p.name for p in out.iterdir()) == ["adapter.gguf", "loss.csv", "training.json"]
        assert (out / "loss.csv").read_text().startswith("step,loss\n1,")
    else:
        with pytest.raises(SluiceError, match="cannot load it"):
            trained(place, exports=("gguf",))
        assert list(out.iterdir()) == []


def test_the_record_says_what_was_learned_from_and_on_what(place: Path) -> None:
    trained(place, held_share=0.25)
    record = json.loads((place / "out" / "training.json").read_text())
    assert record["held"] == 1
    assert record["samples"] == 4
    assert record["held_loss"]
    assert record["hardware"]["processes"] == 1
    assert record["hardware"]["trl"]
    assert record["parameters"]["method"] == "lora"
    assert record["tokens_per_second"] > 0
    assert record["exports"]["peft"] is not None
    assert record["steps"] == 2


def test_few_rows_are_not_learned_more_often_than_epochs_allow(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trained(place, EXAMPLES[:2], steps=140, epochs=2, batch=1, accumulate=2)
    assert "train: 2 steps, 2.0 passes over 2 examples" in capsys.readouterr().err
    record = json.loads((place / "out" / "training.json").read_text())
    assert (record["steps"], record["answers"], record["passes"]) == (2, 4, 2.0)


def test_a_release_must_have_the_adapter_that_it_serves(workspace: Workspace) -> None:
    text = workspace.params.read_text()
    workspace.params.write_text(text.replace("train:\n", "train:\n  exports: [peft]\n"))
    with pytest.raises(SluiceError, match=r"train\.exports has no gguf.*\n.*sluice train --out DIR"):
        run(workspace)
    assert not workspace.build.exists()


def test_of_the_processes_of_a_machine_one_downloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    origin = tmp_path / "model.safetensors"
    origin.write_bytes(b"weights")
    spec = PinnedFiles(source=f"file:{origin}", sha256=digest_of_file(origin))
    real, fetched, begin = model_files.fetch, [], threading.Barrier(4)
    monkeypatch.setattr(model_files, "fetch", lambda source, folder: fetched.append(source) or real(source, folder))

    def process(_: int) -> bytes:
        begin.wait(60)
        return train_stage.fetched_once(ensure_source, spec, tmp_path / "cache").read_bytes()

    with ThreadPoolExecutor(4) as processes:
        assert list(processes.map(process, range(4))) == [b"weights"] * 4
    assert len(fetched) == 1
    next((tmp_path / "cache").rglob("model.safetensors")).write_bytes(b"others")
    with pytest.raises(SluiceError, match="sha256 is"):
        train_stage.fetched_once(ensure_source, spec, tmp_path / "cache")


@pytest.fixture(scope="module")
def served() -> Path:
    return ensure(load_models(ROOT / "config" / "models.yaml").chat, Workspace(ROOT).cache)


@pytest.mark.real
def test_a_few_steps_teach_what_llama_cpp_then_answers(served: Path, tmp_path: Path) -> None:
    from sluice.llm.llama_server import LocalServer

    steps: list[tuple[int, int, float]] = []
    params = TrainingParameters(steps=8, warmup=1, batch=4, accumulate=1, learning_rate=2e-3)
    out = tmp_path / "out"
    paths = TrainingPaths(served, served, out, tmp_path / "checkpoints")
    made = train(paths, EXAMPLES, params, lambda *step: steps.append(step))
    assert [step[0] for step in steps] == list(range(1, 9))
    assert steps[-1][2] < steps[0][2] / 2
    record = json.loads((out / "training.json").read_text())
    assert record["samples"] == len(EXAMPLES)
    assert len(record["loss"]) == 8
    assert sorted(p.name for p in out.iterdir()) == ["adapter.gguf", "loss.csv", "training.json"]

    def answers(adapter: Path | None) -> list[str]:
        with LocalServer(served, adapter=adapter, threads=1, slots=1, context=1024) as server:
            return [ask_local(server.base_url, e.messages, maxTokens=8)[0] for e in EXAMPLES]

    targets = [e.target for e in EXAMPLES]
    assert answers(made["gguf"]) == targets
    assert answers(None) != targets
