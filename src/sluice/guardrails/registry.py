"""All checks: one line each. To add one, write its file (`Options`, `find`) and its line."""

from __future__ import annotations

from collections.abc import Mapping

from sluice.guardrails import encoding, injection, length, personal_data, secrets
from sluice.guardrails.check import Check, on_every_layer

CHECKS: Mapping[str, Check] = {
    "length": Check(length.Options, length.make, ("block",)),
    "encoding": Check(encoding.Options, encoding.make, ("block", "annotate")),
    "injection": Check(injection.Options, on_every_layer(injection.find), ("block", "annotate")),
    "secrets": Check(secrets.Options, on_every_layer(secrets.find), ("block", "redact", "annotate")),
    "personal_data": Check(personal_data.Options, on_every_layer(personal_data.find), ("block", "redact", "annotate")),
}
