"""Administration of vector stores and of the cache of models: contents, verification, what nothing needs."""
