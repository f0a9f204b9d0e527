"""Sluice: ship LLM applications in small, measured steps. The layers are listed in engine/docs/architecture.md."""

__version__ = "0.1.0"
