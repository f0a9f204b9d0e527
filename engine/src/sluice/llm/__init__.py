"""Language models: model files, the local llama.cpp runtime, and chat providers."""
