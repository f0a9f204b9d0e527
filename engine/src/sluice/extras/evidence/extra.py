"""What the extra `evidence` adds, and what belongs to it."""

from __future__ import annotations

from sluice.core.extras import Extra

EXTRA = Extra(
    summary="chooses sentences of the passages for a small model, and doubts that they answer the question",
    hooks={"evidence": "evidence_reader:EvidenceReader"},
    files=("engine/benchmarks/evidence_weights.py",),
)
