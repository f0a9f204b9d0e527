"""A metric by words and embeddings: the registry in evaluation/registry.py finds it here."""
