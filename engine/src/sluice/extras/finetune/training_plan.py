"""Checks a training run before anything large is downloaded: `sluice train --dry-run`. Contradictions between
config/models.yaml, `train` of pipelines/params.yaml and config/providers.yaml are refused here."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sluice.core.errors import SluiceError
from sluice.core.params import load_params
from sluice.core.workspace import Workspace
from sluice.extras.finetune.base_model import is_gguf, lora_config, quiet, require_training_packages
from sluice.extras.finetune.training_parameters import TrainingParameters
from sluice.llm.model_files import Models, ModelSpec, PinnedFiles, ensure_source, load_models
from sluice.llm.settings import ProviderSpec, load_providers

_MODELS, _PARAMS, _PROVIDERS = "config/models.yaml", "pipelines/params.yaml", "config/providers.yaml"


def plan(workspace: Workspace, processes: int = 1, base: Path | None = None) -> Iterator[str]:
    """Yield lines about what is trained, who answers with it, and the memory that each process needs at least."""
    require_training_packages()
    params = load_params(workspace.params, "train", TrainingParameters)
    if params.dtype == "auto":  # on a GPU
        params = params.model_copy(update={"dtype": "bfloat16"})
    lifecycle = [] if base else list(model_lifecycle(workspace, params))
    weights, trained, need = _memory(base_config(workspace, base), params)
    yield f"model     {weights / 1e9:.2f} billion weights"
    yield f"trained   {trained / 1e6:,.1f} million by {params.method}, computed in {params.dtype}"
    yield from lifecycle
    shards = processes if params.sharded(processes) else 1
    each = f"each of {processes} processes" if processes > 1 else "one process"
    gib = {what: size / shards / (1 << 30) for what, size in need.items()}
    yield f"memory    {sum(gib.values()):.1f} GiB on {each}, and what activations take"
    yield from (f"          {size:5.1f} GiB  {what}" for what, size in gib.items())


def _memory(config: Any, params: TrainingParameters) -> tuple[int, int, dict[str, float]]:
    """Return the number of weights, of trained ones, and bytes by use, all by accelerate's rules."""
    from accelerate import init_empty_weights
    from accelerate.commands.estimate import estimate_training_usage
    from accelerate.utils import CustomDtype, compute_module_sizes
    from peft import get_peft_model
    from transformers import AutoModelForCausalLM

    with quiet(), init_empty_weights():
        try:
            model = AutoModelForCausalLM.from_config(config)
        except (ValueError, LookupError) as error:
            raise SluiceError(f"transformers has no causal model for this config.json: {error}") from error
        weights = model.num_parameters()
        trained = weights
        kept = {"full": "float32", "lora": params.dtype, "qlora": CustomDtype.INT4}[params.method]
        frozen = 0 if params.method == "full" else compute_module_sizes(model, dtype=kept)[""]
        if params.method != "full":
            trained = get_peft_model(model, lora_config(params)).num_parameters(only_trainable=True)
    usage = estimate_training_usage(4 * trained, params.dtype)
    names = {"model": "trained weights", "gradients": "gradients", "optimizer": "moments of Adam"}
    need = {"frozen weights": frozen} | {name: usage[key] for key, name in names.items()}
    return weights, trained, {what: size for what, size in need.items() if size}


def base_config(workspace: Workspace, base: Path | None = None) -> Any:
    """Return transformers' config of `base`, by default the chat model; only config.json is fetched."""
    from transformers import AutoConfig

    chat = load_models(workspace.config / "models.yaml").chat
    files = chat.weights or chat
    path = base or next(iter(files.cached(workspace.cache)))
    with tempfile.TemporaryDirectory() as scratch:
        if base is None and not path.exists() and "config.json" in files.files:
            only = PinnedFiles(source=files.source_of("config.json"), sha256=files.files["config.json"])
            path = ensure_source(only, Path(scratch))
        if not path.exists():
            raise SluiceError(
                f"{path}: the base model is missing, and `files` of config/models.yaml has no config.json",
                remedy="name it there, or fetch the model with `sluice models pull`",
            )
        folder = path if path.is_dir() else path.parent
        file = {"gguf_file": path.name} if is_gguf(path) and path.name != "config.json" else {}
        try:
            return AutoConfig.from_pretrained(folder, **file, local_files_only=True)
        except (OSError, ValueError, LookupError) as error:
            raise SluiceError(f"{path}: transformers cannot read what model this is: {error}") from error


def model_lifecycle(workspace: Workspace, params: TrainingParameters) -> Iterator[str]:
    chat, providers = require_consistent(workspace, params)
    yield f"source    {(chat.weights or chat).source}"
    yield f"tuned     by {params.method}, exported as {', '.join(params.exports)}"
    answering = []
    for spec in providers:
        component = getattr(spec, "component", None)
        answer = {
            "local": f"llama.cpp, {chat.source} and adapter.gguf",
            "vllm": f"vLLM, the adapter of each release beside {spec.model}",
            "sagemaker": f"endpoint {spec.model}{f', component {component}' if component else ''}",
        }.get(spec.kind)
        answering += [f"{spec.name}: {answer}"] if answer else []
    for line in answering or [f"nobody: no provider of `chat` in {_PROVIDERS} asks this model"]:
        yield f"served    {line}"


def require_consistent(workspace: Workspace, params: TrainingParameters) -> tuple[ModelSpec, tuple[ProviderSpec, ...]]:
    """Return the chat model and the providers that answer in its role."""
    chat = load_models(workspace.config / "models.yaml").chat
    providers = load_providers(workspace.config / "providers.yaml", roles=Models.roles()).chat
    if params.method == "qlora" and (chat.weights or chat).file_name.endswith(".gguf"):
        raise SluiceError(
            f"{_PARAMS}: train.method is qlora, which packs published weights, and {_MODELS} has a GGUF file alone",
            remedy=f"name safetensors as `weights` of the chat model in {_MODELS}, or set train.method to lora",
        )
    components = [spec.name for spec in providers if getattr(spec, "component", None)]
    if components and "peft" not in params.exports:
        raise SluiceError(
            f"{_PARAMS}: train.exports has no peft, of which the component that {components[0]} in {_PROVIDERS} asks is"
            " made",
            remedy="set train.exports to [gguf, peft]",
        )
    return chat, providers
