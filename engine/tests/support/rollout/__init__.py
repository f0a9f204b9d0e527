"""Canaries, good and bad, and how they are rehearsed and promoted."""
