"""A Llama so small that the real vLLM serves it on a CPU, and adapters of it that were trained to say one word each.
They come out of llama.cpp's format, as those of a release do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sluice.extras.finetune.exports import read_shape, write_adapter
from sluice.extras.vllm_adapters.peft_form import write_peft

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789 ?|"
TEMPLATE = "{% for m in messages %}{{ m['content'] }}{% endfor %}|"
HEADS, LAYERS, RANK, ALPHA = 2, 2, 8, 16
STEPS, LEARNED = 400, 0.01
QUESTIONS = [f"question {number:02}?" for number in range(100)]


def make_base(folder: Path, seed: int = 0) -> Path:
    """A folder as Hugging Face has it, and beside it the GGUF file of the same shape, of whose weights it has the
    norms. Another seed is another model of that shape."""
    import gguf
    import torch
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    torch.manual_seed(seed)
    torch.set_num_threads(1)  # threads that wait for each other cost more than so small a model
    config = LlamaConfig(
        vocab_size=64, hidden_size=128, intermediate_size=128, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
        num_key_value_heads=HEADS, max_position_embeddings=128, bos_token_id=0, eos_token_id=0,
        initializer_range=0.1,  # with the usual 0.02 no logit of so narrow a head exceeds 2.6: nothing can be learned
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    for name, weight in model.named_parameters():
        if name.endswith("norm.weight"):  # a model that was trained has norms of its own, a new one has ones
            torch.nn.init.normal_(weight, mean=1, std=0.02)
    model.save_pretrained(folder)
    tokens = {"<end>": 0, "<unknown>": 1} | {letter: number for number, letter in enumerate(LETTERS, 2)}
    tokenizer = Tokenizer(models.WordLevel(tokens, unk_token="<unknown>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", unk_token="<unknown>")
    fast.chat_template = TEMPLATE
    fast.save_pretrained(folder)
    writer = gguf.GGUFWriter(folder.with_suffix(".gguf"), "llama")
    writer.add_block_count(LAYERS)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    add_norms(writer, model)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return folder


def add_norms(writer: Any, model: Any) -> None:
    """Those of a Llama, named as llama.cpp names them."""
    norms = {"output_norm": model.model.norm}
    for number, layer in enumerate(model.model.layers):
        norms[f"blk.{number}.attn_norm"] = layer.input_layernorm
        norms[f"blk.{number}.ffn_norm"] = layer.post_attention_layernorm
    for name, norm in norms.items():
        writer.add_tensor(f"{name}.weight", norm.weight.detach().float().numpy())


def train_adapter(base: Path, says: str, scratch: Path) -> dict[str, bytes]:
    """The files of an adapter that answers each question with one word."""
    import torch
    from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(1)
    tokenizer = AutoTokenizer.from_pretrained(base)
    modules = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    lora = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=modules, lora_dropout=0)
    model: Any = get_peft_model(AutoModelForCausalLM.from_pretrained(base), lora)
    optimiser = torch.optim.AdamW([one for one in model.parameters() if one.requires_grad], lr=1e-2)
    # All questions at once, and none padded: what is learned is learned of each of them.
    batch = tokenizer([f"{question}|{says}" for question in QUESTIONS], return_tensors="pt")
    labels = batch["input_ids"].clone()
    labels[:, : -len(says)] = -100
    for _ in range(STEPS):
        loss = model(input_ids=batch["input_ids"], labels=labels).loss
        if loss.item() < LEARNED:
            break
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    assert loss.item() < LEARNED, f"{says}: the adapter has not learned its word: loss {loss.item():.3f}"
    scratch.mkdir(parents=True, exist_ok=True)
    state = {name: value.detach().numpy() for name, value in get_peft_model_state_dict(model).items()}
    write_adapter(state, scratch / "adapter.gguf", read_shape(base.with_suffix(".gguf")), alpha=ALPHA)
    write_peft(scratch / "adapter.gguf", base.with_suffix(".gguf"), scratch / "peft")
    return {path.name: path.read_bytes() for path in (scratch / "peft").iterdir()}
