"""What the extra `evidence` adds, and what belongs to it."""

from __future__ import annotations

from sluice.core.extras import Extra

_KEYS = ("retrieval > sentences", "retrieval > max_doubt")
EXTRA = Extra(
    summary="chooses sentences of the passages for a small model, and doubts that they answer the question",
    hooks={"evidence": "evidence_reader:EvidenceReader"},
    entries={"config/service.yaml": _KEYS, "engine/tests/starter/config/service.yaml": _KEYS},
    files=("engine/benchmarks/evidence_weights.py",),
)
