"""Administration of vector stores, the model cache and the artifact store."""
