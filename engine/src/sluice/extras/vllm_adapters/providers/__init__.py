"""One file for each kind of provider: the registry in llm/providers/ finds them here."""
