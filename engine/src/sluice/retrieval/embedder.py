"""MiniLM sentence embeddings in this process with CTranslate2, without torch and without a server."""

from __future__ import annotations

import json
import tempfile
import zipfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from sluice.core.errors import SluiceError

Item = TypeVar("Item")
Result = TypeVar("Result")


class DynamicBatcher(Generic[Item, Result]):
    """Calls `work`, never twice at a time, with up to `size` of the items that came while it was busy."""

    def __init__(self, work: Callable[[list[Item]], Sequence[Result]], size: int) -> None:
        self._work = work
        self._size = size
        self._waiting: deque[tuple[Item, Future[Result]]] = deque()
        self._worker = ThreadPoolExecutor(1, "dynamic-batching")

    def ask(self, item: Item) -> Result:
        """Return the result for `item`; an error of `work` is raised for the whole batch."""
        mine: Future[Result] = Future()
        self._waiting.append((item, mine))
        self._worker.submit(self._next)
        return mine.result()

    def _next(self) -> None:
        """Work on the next batch, which is empty where an earlier one took what this call was for."""
        batch = [self._waiting.popleft() for _ in range(min(self._size, len(self._waiting)))]
        try:
            for (_, each), result in zip(batch, self._work([item for item, _ in batch]) if batch else (), strict=True):
                each.set_result(result)
        except BaseException as error:
            for _, each in batch:
                if not each.done():
                    each.set_exception(error)


Vector = npt.NDArray[np.float32]
Vectors = npt.NDArray[np.float32]
# The model has no more positions. Texts that are read together have as many, padded: that stays in a core's cache.
_TOKENS = 512
_REMEMBERED = 256  # texts that were embedded alone
_SHORT, _TOGETHER = 128, 32  # tokens of a question that is embedded with those of other threads, and how many are


@dataclass(frozen=True)
class TokenStates:
    tokens: Sequence[str]
    ids: Sequence[int]
    states: Vectors


class Embedder(AbstractContextManager["Embedder"]):
    """Thread-safe. `threads`: calls that are computed side by side, one by default as the cores have other work."""

    def __init__(self, model: Path, *, threads: int = 1) -> None:
        import ctranslate2
        from tokenizers.implementations import BertWordPieceTokenizer

        with tempfile.TemporaryDirectory() as folder:  # given as bytes, the library keeps them beside the weights
            _unpack(model, folder)
            vocabulary = json.loads(Path(folder, "vocabulary.json").read_bytes())
            self._encoder: Any = ctranslate2.Encoder(
                folder, device="cpu", compute_type="int8_float32", inter_threads=threads, intra_threads=1
            )
        self._side_by_side = ThreadPoolExecutor(threads, "embedder")
        self._tokenizer: Any = BertWordPieceTokenizer({token: place for place, token in enumerate(vocabulary)})
        self._tokenizer.enable_truncation(_TOKENS)
        self._batches: DynamicBatcher[list[int], Vector] = DynamicBatcher(self._forward, _TOGETHER)
        # The guards ask for the embedding of a question, and then the search asks for it.
        self._alone = lru_cache(_REMEMBERED)(self._embed_alone)

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return float32 (len(texts), dimension), rows of length 1. Texts are cut at the model's 512 tokens."""
        if len(texts) == 1:
            return self._alone(texts[0])[np.newaxis].copy()
        tokens = [self._tokenizer.encode(text).ids for text in texts]
        batches = list(_batches(tokens))
        several = self._side_by_side.map(lambda places: self._forward([tokens[place] for place in places]), batches)
        found = dict(zip(chain(*batches), chain(*several), strict=True))
        return np.asarray([found[place] for place in range(len(tokens))], dtype=np.float32)

    def token_states(self, texts: Sequence[str]) -> list[TokenStates]:
        """Return the tokens of each text with their vectors, without the marks at its ends where there is more."""
        read = [self._tokenizer.encode(text) for text in texts]
        found: dict[int, TokenStates] = {}
        for places in _batches([one.ids for one in read]):
            states = np.asarray(self._encoder.forward_batch([read[place].ids for place in places]).last_hidden_state)
            for place, state in zip(places, states, strict=True):
                one = read[place]
                inner = slice(1, len(one.ids) - 1) if len(one.ids) > 2 else slice(None)
                found[place] = TokenStates(one.tokens[inner], one.ids[inner], state[inner])
        return [found[place] for place in range(len(read))]

    def _embed_alone(self, text: str) -> Vector:
        tokens = self._tokenizer.encode(text).ids
        return self._batches.ask(tokens) if len(tokens) <= _SHORT else self._forward([tokens])[0]

    def _forward(self, tokens: list[list[int]]) -> list[Vector]:
        """Return the mean over each text's last hidden states, shape (dimension,), length 1."""
        states = np.asarray(self._encoder.forward_batch(tokens).last_hidden_state)
        means = [state[: len(text)].mean(axis=0) for state, text in zip(states, tokens, strict=True)]
        return [mean / np.linalg.norm(mean) for mean in means]

    def __exit__(self, *_: object) -> None:
        self._encoder = None
        self._alone.cache_clear()


def _batches(tokens: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    """Yield places of texts that are read together, longest first."""
    left = sorted(range(len(tokens)), key=lambda place: len(tokens[place]))
    while left:
        size = max(1, _TOKENS // len(tokens[left[-1]]))
        left, places = left[:-size], left[-size:]
        yield places


def _unpack(model: Path, folder: str) -> None:
    try:
        with zipfile.ZipFile(model) as archive:
            archive.extractall(folder)
    except (OSError, zipfile.BadZipFile) as error:
        raise SluiceError(
            f"{model}: the embedder cannot be read: {error}",
            remedy="run `make release` to build it, or `sluice models pull` to fetch it",
        ) from error
