from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from sluice.core.errors import SluiceError
from sluice.core.workspace import Workspace
from sluice.extras.finetune.training_parameters import TrainingParameters
from sluice.extras.finetune.training_plan import model_lifecycle, plan
from sluice.llm.providers import PROVIDERS
from support.libraries import Library
from unit.extras.finetune.tiny import LLAMA_8B, edited, write_config, write_models

Library("trl")
COMMON = ("timeouts", "retries", "max_concurrency", "breaker", "prices")
LOCAL = {"name": "here", "kind": "local", "model": "chat"}
ENDPOINT = {"name": "endpoint", "kind": "sagemaker", "model": "assistant", "region": "eu-west-1"}
COMPONENT = {**ENDPOINT, "component": "assistant-3-0a1b"}
VLLM = {"name": "cluster", "kind": "vllm", "model": "base", "base_url": "http://vllm:8000/v1"}
HOSTED = {"name": "hosted", "kind": "openai_compatible", "model": "m", "base_url": "http://other/v1"}


def write(workspace: Workspace, *providers: dict[str, Any], weights: bool = True) -> None:
    if missing := {one["kind"] for one in providers} - PROVIDERS.keys():
        pytest.skip(f"left out here: {', '.join(sorted(missing))}")
    with edited(workspace.config / "providers.yaml") as written:
        base = {key: value for key, value in written["chat"][0].items() if key in COMMON}
        written["chat"] = [base | provider for provider in providers]
    with edited(workspace.config / "models.yaml") as models:
        models["chat"] = {"name": "8B", "licence": "x", "source": "s3://bucket/8b/model.gguf", "sha256": "0" * 64}
        if weights:
            models["chat"]["weights"] = {"source": "hf://owner/8b/model.safetensors@main", "sha256": "1" * 64}


def planned(workspace: Workspace, base: Path, processes: int = 1, **params: Any) -> list[str]:
    with edited(workspace.params) as whole:
        whole["train"] |= params
    return list(plan(workspace, processes, base))


def test_the_memory_of_an_8b(workspace: Workspace, tmp_path: Path) -> None:
    """Llama 3.1's model card: 8,030,261,248 weights. An adapter of rank 16 on its seven projections has 41,943,040,
    which every trainer of it prints. By accelerate's rule, in bfloat16, 4, 6 and 8 bytes for each trained weight."""
    base = write_config(tmp_path / "base", LLAMA_8B)
    lines = planned(workspace, base)
    assert lines[:2] == ["model     8.03 billion weights", "trained   41.9 million by lora, computed in bfloat16"]
    assert "memory    15.7 GiB on one process, and what activations take" in lines
    assert lines[-4:] == [
        "           15.0 GiB  frozen weights",
        "            0.2 GiB  trained weights",
        "            0.2 GiB  gradients",
        "            0.3 GiB  moments of Adam",
    ]
    shards = planned(workspace, base, 4, parallel="fsdp")
    assert any(line.startswith("memory    3.9 GiB on each of 4 processes") for line in shards)
    packed = planned(workspace, base, method="qlora")
    assert any("3.7 GiB  frozen weights" in line for line in packed)
    full = planned(workspace, base, method="full", exports=["merged"])
    assert not any("frozen" in line for line in full)


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
    assert "model     8.03 billion weights" in said.output
    assert not workspace.build.exists()


def test_source_tuning_and_serving_have_a_line_each(workspace: Workspace) -> None:
    write(workspace, COMPONENT, VLLM, LOCAL, HOSTED)
    params = TrainingParameters(method="qlora", exports=("gguf", "peft"))
    assert list(model_lifecycle(workspace, params)) == [
        "source    hf://owner/8b/model.safetensors@main",
        "tuned     by qlora, exported as gguf, peft",
        "served    endpoint: endpoint assistant, component assistant-3-0a1b",
        "served    cluster: vLLM, the adapter of each release beside base",
        "served    here: llama.cpp, s3://bucket/8b/model.gguf and adapter.gguf",
    ]


def test_a_component_needs_the_peft_form(workspace: Workspace) -> None:
    write(workspace, COMPONENT, LOCAL)
    with pytest.raises(SluiceError, match="the component that endpoint in config") as refused:
        list(model_lifecycle(workspace, TrainingParameters()))
    assert "[gguf, peft]" in refused.value.remedy
    write(workspace, ENDPOINT, LOCAL)
    assert list(model_lifecycle(workspace, TrainingParameters()))
    write(workspace, HOSTED)
    assert "nobody: no provider" in list(model_lifecycle(workspace, TrainingParameters()))[-1]


def test_a_gguf_file_alone_cannot_be_packed(workspace: Workspace) -> None:
    write(workspace, LOCAL, weights=False)
    with pytest.raises(SluiceError, match="has a GGUF file alone"):
        list(model_lifecycle(workspace, TrainingParameters(method="qlora")))


@pytest.mark.parametrize(
    ("method", "exports", "reason"),
    [("full", ("gguf",), "trains no adapter"), ("qlora", ("merged",), "cannot be merged")],
)
def test_a_form_that_a_method_has_not_is_refused(method: str, exports: tuple[str, ...], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        TrainingParameters.model_validate({"method": method, "exports": exports})
