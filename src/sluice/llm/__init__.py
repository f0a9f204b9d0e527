"""Models: where they come from, the local llama.cpp runtime, and providers through LangChain."""
