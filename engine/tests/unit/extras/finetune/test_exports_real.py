"""Adapters of several architectures as llama.cpp itself answers with them, token by token as transformers does.

The base in GGUF is written here as llama.cpp's convert_hf_to_gguf.py does it; where that or the order of rows of an
adapter were wrong, llama.cpp would compute another model, and say something else.
"""

from pathlib import Path
from typing import Any

import pytest

from sluice.extras.finetune.base_model import lora_config
from sluice.extras.finetune.exports import BaseModelShape, read_shape, require_known, rows_in_gguf, write_adapter
from sluice.extras.finetune.training_parameters import TrainingParameters
from sluice.llm.llama_server import LocalServer
from support.libraries import Library
from unit.extras.finetune.tiny import LETTERS, close_gguf, model

Library("peft")
pytestmark = pytest.mark.real
# Of transformers and of GGUF. A Mistral is kept as a Llama.
ARCHITECTURES = {
    "llama": "llama",
    "mistral": "llama",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "gemma3_text": "gemma3",
    "phi3": "phi3",
}
PARAMS = TrainingParameters(rank=4, alpha=8)
# A Phi has one module for queries, keys and values, and one for the two that lead into the inner layer.
TARGETS = {"phi3": ("qkv_proj", "o_proj", "gate_up_proj", "down_proj")}
WORDS = ["<end>", "<unknown>", *LETTERS]
WORDS += [f"<{number}>" for number in range(len(WORDS), 80)]
# llama.cpp keeps keys and values in float16: after some tokens two that are as likely may change places.
PROMPT = [5, 9, 31, 17, 44, 12, 60, 3]


def write_gguf(whole: Any, path: Path, architecture: str) -> Path:
    import gguf

    config = whole.config
    shape = BaseModelShape(
        architecture, config.num_hidden_layers, config.num_attention_heads, config.num_key_value_heads
    )
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    size = config.hidden_size // config.num_attention_heads
    writer.add_key_length(size)
    writer.add_value_length(size)
    writer.add_rope_dimension_count(size)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    rope = config.rope_parameters
    writer.add_rope_freq_base(rope.get("full_attention", rope)["rope_theta"])
    if architecture in ("gemma3", "phi3"):
        writer.add_sliding_window(config.sliding_window or config.max_position_embeddings)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([word.replace(" ", "Ġ") for word in WORDS])
    writer.add_token_types([gguf.TokenType.NORMAL] * len(WORDS))
    writer.add_token_merges(["a b"])
    writer.add_eos_token_id(0)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH[architecture.upper()], shape.blocks)
    for key, value in whole.state_dict().items():
        module, _, kind = key.rpartition(".")
        array = value.float().numpy()
        if architecture == "gemma3" and array.ndim == 1:
            array = array + 1  # what is kept of a norm is its difference from one
        if array.ndim == 2:
            array = rows_in_gguf(module, array, shape)
        writer.add_tensor(f"{names.get_name(module)}.{kind}", array.copy())
    close_gguf(writer)
    return path


def said_by_transformers(whole: Any) -> str:
    import torch

    prompt = torch.tensor([PROMPT])
    how = {"do_sample": False, "max_new_tokens": 6, "min_new_tokens": 6}
    found = whole.generate(input_ids=prompt, attention_mask=torch.ones_like(prompt), **how)
    return "".join(WORDS[token] for token in found[0, len(PROMPT) :])


def said_by_llama_cpp(base: Path, adapter: Path | None = None) -> str:
    server = LocalServer(base, adapter=adapter, threads=1, context=256, slots=1)
    request = {"prompt": PROMPT, "max_tokens": 6, "temperature": 0, "ignore_eos": True}
    reply = server._server.handle_completions(request)
    server.close()
    return str(reply["choices"][0]["text"])


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_llama_cpp_says_what_transformers_says(tmp_path: Path, name: str) -> None:
    import torch
    from peft import get_peft_model, get_peft_model_state_dict

    # Of tied embeddings, which a Gemma scales, nothing but the last token would come back.
    more = {"query_pre_attn_scalar": 8, "tie_word_embeddings": False} if name == "gemma3_text" else {}
    whole = model(architecture=name, initializer_range=0.3, **more).eval()
    base = write_gguf(whole, tmp_path / "base.gguf", ARCHITECTURES[name])
    plain = said_by_transformers(whole)
    assert said_by_llama_cpp(base) == plain
    params = PARAMS.model_copy(update={"targets": TARGETS.get(name, PARAMS.targets)})
    adapted = get_peft_model(whole, lora_config(params))
    torch.manual_seed(0)
    with torch.no_grad():
        for key, weight in adapted.named_parameters():
            if "lora_B" in key:
                weight.normal_(0, 0.2)
    shape = read_shape(base)
    require_known(shape)
    state = {key: value.float().numpy() for key, value in get_peft_model_state_dict(adapted).items()}
    write_adapter(state, tmp_path / "adapter.gguf", shape, alpha=PARAMS.alpha)
    expected = said_by_transformers(adapted.eval())
    assert expected != plain
    assert said_by_llama_cpp(base, tmp_path / "adapter.gguf") == expected
