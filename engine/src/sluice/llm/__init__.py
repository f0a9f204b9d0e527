"""Models: where they come from, the local llama.cpp runtime, and the providers of answers (one file each).

`roles.open_chat` turns config/providers.yaml into one `chat.ChatProvider` with retries, fallback and limits inside.
"""
