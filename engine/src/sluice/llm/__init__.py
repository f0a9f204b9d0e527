"""Language models: model files, the local llama.cpp runtime, and chat providers.

`resilience.open_chat` turns config/providers.yaml into one `chat.ChatProvider` with retries, fallback and limits.
"""
