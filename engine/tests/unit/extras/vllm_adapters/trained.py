"""A Llama so small that the real vLLM serves it on a CPU, and adapters of it trained to say one word each."""

from pathlib import Path
from typing import Any

from sluice.extras.finetune.exports import read_shape, write_adapter
from sluice.extras.vllm_adapters.peft_form import write_peft
from unit.extras.finetune.tiny import add_norms, close_gguf, llama_with_norms, tokenizer

HEADS, LAYERS, RANK, ALPHA = 2, 2, 8, 16
STEPS, LEARNED = 400, 0.01
QUESTIONS = [f"question {number:02}?" for number in range(100)]


def make_base(folder: Path, seed: int = 0) -> Path:
    """Write a folder as Hugging Face has it, and beside it a GGUF file with its shape and norms."""
    import gguf

    # With the usual range of 0.02 no logit of so narrow a head exceeds 2.6: nothing can be learned.
    shape = {"num_attention_heads": HEADS, "num_key_value_heads": HEADS, "head_dim": 128 // HEADS}
    whole = llama_with_norms(
        seed, 0.02, layers=LAYERS, width=128, intermediate_size=128, initializer_range=0.1, **shape
    )
    whole.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    writer = gguf.GGUFWriter(folder.with_suffix(".gguf"), "llama")
    writer.add_block_count(LAYERS)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    add_norms(writer, whole)
    close_gguf(writer)
    return folder


def train_adapter(base: Path, says: str, scratch: Path) -> dict[str, bytes]:
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
