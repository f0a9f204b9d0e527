"""Synthetic rows: a teacher model writes questions about the corpus, a person accepts or rejects them."""
