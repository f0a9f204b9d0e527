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
from sluice.retrieval import embedder as embedder_code
from sluice.retrieval.embedder import Vectors
from sluice.retrieval.index_files import EmbedderIdentity, TextEncoder

_KEY = 16  # bytes of the hash of a text
# Raised for a file that is not there or damaged.
_UNREADABLE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)


class RememberingEmbedder:
    """Embeds as `embedder` does. `folder`: where the files are; another model or another code of the embedder has
    another file. `fresh`: how many texts were not known, in all calls."""

    def __init__(self, embedder: TextEncoder, folder: Path, identity: EmbedderIdentity) -> None:
        made_by = digest_of([identity.model_dump(), digest_of_file(Path(embedder_code.__file__))])
        self._path = folder / f"{made_by[:16]}.npz"
        self._embedder = embedder
        self.fresh = 0

    def embed(self, texts: Sequence[str]) -> Vectors:
        """One row for each text, in order."""
        known = self._read()
        keys = [hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=_KEY).digest() for text in texts]
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
            with np.load(self._path) as file:
                keys, vectors = file["keys"], file["vectors"]
            return {key.tobytes(): vector for key, vector in zip(keys, vectors, strict=True)}
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
