"""config.json of a large model as its maker published it, for plans: its weights are never asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from sluice.core.digests import digest_of_file
from sluice.core.workspace import Workspace

LLAMA_8B: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 128256,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "max_position_embeddings": 131072,
    "tie_word_embeddings": False,
}


def write_config(folder: Path, config: Mapping[str, Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def write_models(workspace: Workspace, folder: Path, config: Mapping[str, Any]) -> None:
    """Names weights for training in config/models.yaml. Beside their config.json, nothing of them is there."""
    path = write_config(folder, config) / "config.json"
    models = yaml.safe_load((workspace.config / "models.yaml").read_text())
    models["chat"]["weights"] = {
        "source": f"file:{folder}/model.safetensors",
        "sha256": "0" * 64,
        "files": {"config.json": digest_of_file(path)},
    }
    (workspace.config / "models.yaml").write_text(yaml.safe_dump(models))
