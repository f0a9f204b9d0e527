"""LoRA fine-tuning of the chat model on a CPU, and the GGUF adapter that llama.cpp serves."""
