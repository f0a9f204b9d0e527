"""Small models with random weights in a folder as Hugging Face keeps models, examples for them, and the config.json of
a large one as its maker published it, for plans."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import RealModels
from sluice.core.digests import digest_of_file
from sluice.core.workspace import Workspace
from sluice.data.rows import Document, Row, write_rows
from sluice.extras.finetune.dataset import Example
from sluice.extras.finetune.train_stage import TrainingPaths, train
from sluice.extras.finetune.training_parameters import ExportKind, TrainingParameters
from sluice.retrieval.embedder import Embedder
from sluice.retrieval.index_files import ChunkerSettings, build_index

CODES = {"alpha": "K7", "beta": "M2", "gamma": "P9", "delta": "R4"}
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .:?[]|"
TEMPLATE = "{% for m in messages %}{{ m['content'] }}{% endfor %}{% if add_generation_prompt %}|{% endif %}"
PARAMS = TrainingParameters(
    steps=12,
    warmup=1,
    batch=2,
    accumulate=1,
    rank=4,
    learning_rate=1e-2,
    dtype="float32",
    threads=2,
    device="cpu",
    max_tokens=128,
    checkpoint_every=4,
    exports=("peft",),
)
EXAMPLES = [
    Example(
        f"e{n}",
        ({"role": "user", "content": f"[1] Codes: The code of {name} is {code}. Code of {name}?"},),
        code,
        False,
    )
    for n, (name, code) in enumerate(CODES.items())
]


def model(layers: int = 2, architecture: str = "llama", width: int = 32, seed: int = 0, **more: Any) -> Any:
    torch = pytest.importorskip("torch")
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(seed)
    torch.set_num_threads(1)  # threads that wait for each other cost more than so small a model
    shape = {
        "vocab_size": 80,
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": width // 4,
        "max_position_embeddings": 128,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "pad_token_id": 0,
    }
    config = AutoConfig.for_model(architecture, **(shape | more))
    return AutoModelForCausalLM.from_config(config, attn_implementation="eager")


def llama_with_norms(seed: int = 0, std: float = 0.1, **more: Any) -> Any:
    """Return a Llama with norms of its own, as a trained model has them; those of a new one are ones."""
    torch = pytest.importorskip("torch")
    made = model(seed=seed, **more)
    for name, weight in made.named_parameters():
        if name.endswith("norm.weight"):
            torch.nn.init.normal_(weight, mean=1, std=std)
    return made


def add_norms(writer: Any, whole: Any) -> None:
    """Add a Llama's norms to a GGUF file, named as llama.cpp names them."""
    norms = {"output_norm": whole.model.norm}
    for number, layer in enumerate(whole.model.layers):
        norms[f"blk.{number}.attn_norm"] = layer.input_layernorm
        norms[f"blk.{number}.ffn_norm"] = layer.post_attention_layernorm
    for name, norm in norms.items():
        writer.add_tensor(f"{name}.weight", norm.weight.detach().float().numpy())


def close_gguf(writer: Any) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def tokenizer() -> Any:
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = {"<end>": 0, "<unknown>": 1} | {letter: number for number, letter in enumerate(LETTERS, 2)}
    words = Tokenizer(models.WordLevel(letters, unk_token="<unknown>"))
    words.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    fast = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<end>", unk_token="<unknown>")
    fast.chat_template = TEMPLATE
    return fast


def trained(
    place: Path, examples: Sequence[Example] = EXAMPLES, on_progress: Any = lambda *_: None, **changes: Any
) -> dict[ExportKind, Path]:
    """Train the base in `place` with PARAMS and these changes; return the exports."""
    params = TrainingParameters.model_validate(PARAMS.model_dump() | changes)
    paths = TrainingPaths(place / "base", place / "base", place / "out", place / "checkpoints")
    return train(paths, examples, params, on_progress)


def write_base(folder: Path, **shape: Any) -> Path:
    model(**shape).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


@contextmanager
def edited(path: Path) -> Iterator[Any]:
    """Write a file of YAML again as the block changes it."""
    content = yaml.safe_load(path.read_text())
    yield content
    path.write_text(yaml.safe_dump(content))


def write_codes(workspace: Workspace, models: RealModels) -> None:
    """Write a prompt that is short enough for the tiny model, and a row, a passage and the index for each code."""
    content = "{{instruction}} {{passages}} {{question}} Or: {{decline}}"
    with edited(workspace.prompts / "finetune.prompt.yml") as prompt:
        prompt["messages"] = [{"role": "user", "content": content}]
        prompt["variables"] = [one for one in prompt["variables"] if f"{{{{{one['name']}}}}}" in content]
    with edited(workspace.params) as params:
        params["train"] = {**PARAMS.model_dump(mode="json"), "passages": 1, "instructions": {"span": ["Copy."]}}
    write_rows(
        workspace.data / "train.jsonl",
        [Row(id=name, question=f"Code of {name}?", answers=(code,), doc_ids=(name,)) for name, code in CODES.items()],
    )
    documents = [
        Document(id=name, title="C", licence="CC0-1.0", source="tests", text=f"The code of {name} is {code}.")
        for name, code in CODES.items()
    ]
    with Embedder(models.embed) as embedder:
        build_index(documents, embedder, models.specs.embed, ChunkerSettings(), workspace.build / "index")


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
    with edited(workspace.config / "models.yaml") as models:
        models["chat"]["weights"] = {
            "source": f"file:{folder}/model.safetensors",
            "sha256": "0" * 64,
            "files": {"config.json": digest_of_file(path)},
        }
