"""All checks: one line each. To add one, write its file (`Options`, `find`) and its line."""

from __future__ import annotations

from collections.abc import Mapping

from sluice.guardrails import injection, length, personal_data, secrets
from sluice.guardrails.check import Check

CHECKS: Mapping[str, Check] = {
    "injection": Check(injection.Options, injection.find, ("block",)),
    "length": Check(length.Options, length.find, ("block",)),
    "secrets": Check(secrets.Options, secrets.find, ("block", "redact")),
    "personal_data": Check(personal_data.Options, personal_data.find, ("block", "redact")),
}
