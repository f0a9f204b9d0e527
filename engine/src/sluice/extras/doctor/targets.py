"""The targets of `sluice doctor`.

One file for each target, one line here. Every check looks at the real thing; a thing that cannot be inspected is
reported as not verified, and counts as missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sluice.extras.doctor import aws, cluster, github, local
from sluice.extras.doctor.check import Diagnosis, DiagnosisScope

TARGETS: dict[str, Callable[[DiagnosisScope], Iterable[Diagnosis]]] = {
    "local": local.check,
    "github": github.check,
    "aws": aws.check,
    "cluster": cluster.check,
}

__all__ = ["TARGETS", "Diagnosis", "DiagnosisScope"]
