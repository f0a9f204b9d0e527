"""Rows that a teacher model writes about the corpus, proposed for a person to accept."""
