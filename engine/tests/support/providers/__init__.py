"""Providers of chat models on this machine, good and failing ones."""
