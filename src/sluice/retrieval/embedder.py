"""MiniLM sentence embeddings through llama.cpp: no torch at serving time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from sluice.core.errors import SluiceError
from sluice.llm.local import embedding_server

Vectors = npt.NDArray[np.float32]
_BATCH = 32
_LONGEST = 1800  # characters; the model reads 512 tokens, and llama.cpp refuses longer input instead of cutting it
_TOKENS = 500


class Embedder:
    """`embed` gives one unit-length row for each text. Thread-safe; close it or use it as a context manager.

    One thread: llama.cpp's threads wait for each other, so that on two busy cores two are five times slower than one.
    """

    def __init__(self, model: Path, *, threads: int = 1) -> None:
        self._server: Any = embedding_server(model, threads=threads)

    def embed(self, texts: Sequence[str]) -> Vectors:
        """float32, shape (len(texts), dimension), rows of length 1. Long texts are cut at the model's 512 tokens."""
        rows: list[list[float]] = []
        for start in range(0, len(texts), _BATCH):
            rows += self._embed_batch([text[:_LONGEST] or " " for text in texts[start : start + _BATCH]])
        return np.asarray(rows, dtype=np.float32)

    def _embed_batch(self, texts: list[str]) -> list[list[float]]:
        reply = self._server.handle_embeddings({"input": texts})
        if "data" in reply:
            return [item["embedding"] for item in sorted(reply["data"], key=lambda item: item["index"])]
        fault = reply.get("error", {})
        if fault.get("type") != "exceed_context_size_error":
            raise SluiceError(f"the embedder refused a text: {reply}")
        if len(texts) > 1:
            return [row for text in texts for row in self._embed_batch([text])]
        # Punctuation, figures and Chinese have a token for nearly each character: cut in proportion and try again.
        kept = len(texts[0]) * _TOKENS // int(fault["n_prompt_tokens"])
        return self._embed_batch([texts[0][: max(1, min(kept, len(texts[0]) - 1))]])

    def close(self) -> None:
        self._server = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
