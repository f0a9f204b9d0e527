"""A cache of vectors by text, so that a build embeds only changed texts.

One file for each embedder in the local state. It holds the texts of the last build, and as many of earlier ones, for
switching between branches. It can be deleted at any time.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sluice.core.atomic_files import write_atomic
from sluice.core.digests import digest_of, digest_of_file
from sluice.core.errors import SluiceError
from sluice.retrieval import embedder as embedder_code
from sluice.retrieval.embedder import Vectors
from sluice.retrieval.index_files import EmbedderIdentity, TextEncoder

_KEY = 16  # bytes of the hash of a text
_UNREADABLE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)


class ImportedVectors:
    """Vectors of texts that other machines have embedded, taken from below `folders`; nothing is embedded here.

    SluiceError where a file cannot be read, or a text has no vector in them."""

    def __init__(self, folders: Sequence[Path], identity: EmbedderIdentity) -> None:
        self._folders = folders
        self._known: dict[bytes, Vectors] = {}
        for folder in folders:
            found = sorted(folder.rglob(file_of(identity)))
            if not found:
                raise SluiceError(
                    f"{folder}: has no vectors of this embedder",
                    remedy="make them with this code and config/models.yaml: `sluice index build --shard K/N --out`",
                )
            for path in found:
                try:
                    self._known.update(_read_file(path))
                except _UNREADABLE as error:
                    raise SluiceError(f"{path}: cannot be read: {error}", remedy="build its shard again") from error

    def embed(self, texts: Sequence[str]) -> Vectors:
        """One row for each text, in order."""
        keys = [_key(text) for text in texts]
        missing = sum(key not in self._known for key in keys)
        if missing:
            raise SluiceError(
                f"{', '.join(map(str, self._folders))}: {missing} of {len(keys)} chunks have no vector there",
                remedy="give the folders of all N shards, made from the same corpus and parameters",
            )
        return np.asarray([self._known[key] for key in keys], dtype=np.float32)


def file_of(identity: EmbedderIdentity) -> str:
    """Name of the file of an embedder's vectors: by its model and its code."""
    return f"{digest_of([identity.model_dump(), digest_of_file(Path(embedder_code.__file__))])[:16]}.npz"


def _key(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=_KEY).digest()


def _read_file(path: Path) -> dict[bytes, Vectors]:
    with np.load(path) as file:
        keys, vectors = file["keys"], file["vectors"]
    return {key.tobytes(): vector for key, vector in zip(keys, vectors, strict=True)}


class RememberingEmbedder:
    """Embeds as `embedder` does. `folder`: where the files are; another model or another code of the embedder has
    another file. `fresh`: how many texts were not known, in all calls."""

    def __init__(self, embedder: TextEncoder, folder: Path, identity: EmbedderIdentity) -> None:
        self._path = folder / file_of(identity)
        self._embedder = embedder
        self.fresh = 0

    def embed(self, texts: Sequence[str]) -> Vectors:
        """One row for each text, in order."""
        known = self._read()
        keys = [_key(text) for text in texts]
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
        if missing:
            vectors = self._embedder.embed(list(missing.values()))
            known.update(zip(missing, vectors, strict=True))
            self.fresh += len(missing)
            self._write(known, keys)
        return np.asarray([known[key] for key in keys], dtype=np.float32)

    def _read(self) -> dict[bytes, Vectors]:
        """Nothing when the file is not there or cannot be read: then all is embedded again."""
        try:
            return _read_file(self._path)
        except _UNREADABLE:
            return {}

    def _write(self, found: dict[bytes, Vectors], keys: Sequence[bytes]) -> None:
        current = dict.fromkeys(keys)
        others = [key for key in found if key not in current][-len(current) :]
        kept = [*others, *current]
        packed = io.BytesIO()
        np.savez(
            packed,
            keys=np.frombuffer(b"".join(kept), dtype=np.uint8).reshape(-1, _KEY),
            vectors=np.asarray([found[key] for key in kept], dtype=np.float32),
        )
        write_atomic(self._path, packed.getvalue(), sync=False)
