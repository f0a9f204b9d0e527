"""The chat model over models.yaml, params.yaml and providers.yaml, and what contradicts."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from sluice.core.errors import SluiceError
from sluice.core.workspace import Workspace
from sluice.extras.finetune.model_lifecycle import model_lifecycle
from sluice.extras.finetune.training_parameters import TrainingParameters, require_releasable
from sluice.llm.providers import PROVIDERS


def write(workspace: Workspace, *providers: dict[str, Any], weights: bool = True) -> None:
    """Who answers, by what differs from the starter's provider; and an 8B with the weights that are trained."""
    if missing := {one["kind"] for one in providers} - PROVIDERS.keys():
        pytest.skip(f"left out here: {', '.join(sorted(missing))}")
    path = workspace.config / "providers.yaml"
    written = yaml.safe_load(path.read_text())
    base = {key: value for key, value in written["chat"][0].items() if key in COMMON}
    written["chat"] = [base | provider for provider in providers]
    path.write_text(yaml.safe_dump(written))
    path = workspace.config / "models.yaml"
    models = yaml.safe_load(path.read_text())
    models["chat"] = {"name": "8B", "licence": "x", "source": "s3://bucket/8b/model.gguf", "sha256": "0" * 64}
    if weights:
        models["chat"]["weights"] = {"source": "hf://owner/8b/model.safetensors@main", "sha256": "1" * 64}
    path.write_text(yaml.safe_dump(models))


COMMON = ("timeouts", "retries", "max_concurrency", "breaker", "prices")
LOCAL = {"name": "here", "kind": "local", "model": "chat"}
ENDPOINT = {"name": "endpoint", "kind": "sagemaker", "model": "assistant", "region": "eu-west-1"}
COMPONENT = {**ENDPOINT, "component": "assistant-3-0a1b"}
VLLM = {"name": "cluster", "kind": "vllm", "model": "base", "base_url": "http://vllm:8000/v1"}
HOSTED = {"name": "hosted", "kind": "openai_compatible", "model": "m", "base_url": "http://other/v1"}


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


def test_a_model_that_nobody_asks_is_said(workspace: Workspace) -> None:
    write(workspace, HOSTED)
    assert "nobody: no provider" in list(model_lifecycle(workspace, TrainingParameters()))[-1]


def test_a_component_needs_the_peft_form(workspace: Workspace) -> None:
    write(workspace, COMPONENT, LOCAL)
    with pytest.raises(SluiceError, match="the component that endpoint in config") as refused:
        list(model_lifecycle(workspace, TrainingParameters()))
    assert "[gguf, peft]" in refused.value.remedy
    write(workspace, ENDPOINT, LOCAL)
    assert list(model_lifecycle(workspace, TrainingParameters()))


def test_a_gguf_file_alone_cannot_be_packed(workspace: Workspace) -> None:
    write(workspace, LOCAL, weights=False)
    with pytest.raises(SluiceError, match="has a GGUF file alone"):
        list(model_lifecycle(workspace, TrainingParameters(method="qlora")))


def test_a_release_needs_an_adapter_as_gguf() -> None:
    with pytest.raises(SluiceError, match=r"train\.exports has no gguf"):
        require_releasable(TrainingParameters(exports=("peft",)))
    require_releasable(TrainingParameters())
