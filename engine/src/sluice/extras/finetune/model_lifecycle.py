"""The chat model's lifecycle over its files: where it comes from, how it is tuned, who answers with it.

config/models.yaml, `train` of pipelines/params.yaml and config/providers.yaml each say a part. What one of them says
and another cannot keep is found here, before anything large is downloaded or paid for.
"""

from __future__ import annotations

from collections.abc import Iterator

from sluice.core.errors import SluiceError
from sluice.core.workspace import Workspace
from sluice.extras.finetune.training_parameters import TrainingParameters
from sluice.llm.model_files import Models, ModelSpec, load_models
from sluice.llm.settings import ProviderSpec, load_providers

_MODELS, _PARAMS, _PROVIDERS = "config/models.yaml", "pipelines/params.yaml", "config/providers.yaml"


def model_lifecycle(workspace: Workspace, params: TrainingParameters) -> Iterator[str]:
    """Source, tuning and who answers, a line for each."""
    chat, providers = require_consistent(workspace, params)
    answering = [line for spec in providers if (line := _answers(spec, chat))]
    yield f"source    {(chat.weights or chat).source}"
    yield f"tuned     by {params.method}, exported as {', '.join(params.exports)}"
    for line in answering or [f"nobody: no provider of `chat` in {_PROVIDERS} asks this model"]:
        yield f"served    {line}"


def require_consistent(workspace: Workspace, params: TrainingParameters) -> tuple[ModelSpec, tuple[ProviderSpec, ...]]:
    """The chat model, and who answers in its role."""
    chat = load_models(workspace.config / "models.yaml").chat
    providers = load_providers(workspace.config / "providers.yaml", roles=Models.roles()).chat
    _require_tunable(chat, params)
    _require_served(providers, params)
    return chat, providers


def _answers(spec: ProviderSpec, chat: ModelSpec) -> str:
    """How a provider answers with the adapter of a release; empty where it asks another model."""
    component = getattr(spec, "component", None)
    match spec.kind:
        case "local":
            return f"{spec.name}: llama.cpp, {chat.source} and adapter.gguf"
        case "vllm":
            return f"{spec.name}: vLLM, the adapter of each release beside {spec.model}"
        case "sagemaker":
            return f"{spec.name}: endpoint {spec.model}{f', component {component}' if component else ''}"
    return ""


def _require_tunable(chat: ModelSpec, params: TrainingParameters) -> None:
    if params.method == "qlora" and (chat.weights or chat).file_name.endswith(".gguf"):
        raise SluiceError(
            f"{_PARAMS}: train.method is qlora, which packs published weights, and {_MODELS} has a GGUF file alone",
            remedy=f"name safetensors as `weights` of the chat model in {_MODELS}, or set train.method to lora",
        )


def _require_served(providers: tuple[ProviderSpec, ...], params: TrainingParameters) -> None:
    """The adapter of a component is made of the package's PEFT form."""
    components = [spec.name for spec in providers if getattr(spec, "component", None)]
    if components and "peft" not in params.exports:
        raise SluiceError(
            f"{_PARAMS}: train.exports has no peft, of which the component that {components[0]} in {_PROVIDERS} asks is"
            " made",
            remedy="set train.exports to [gguf, peft]",
        )
