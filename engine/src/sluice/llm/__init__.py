"""Language models: model files, the local llama.cpp runtime, and chat providers (one file each).

`fallback.open_chat` turns config/providers.yaml into one `chat.ChatProvider` with retries, fallback and limits inside.
"""
