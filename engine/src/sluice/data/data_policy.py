"""config/data.yaml: the maximum size of a document, and the handling of personal data."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from pydantic import Field

from sluice.core.settings import Settings, load_settings

Action = Literal["refuse", "redact", "allow"]
Kind = Literal["email", "phone", "card", "iban", "national_id"]
KINDS: tuple[Kind, ...] = get_args(Kind)


class DocumentPolicy(Settings):
    """`max_kib`: of one file of the corpus."""

    max_kib: int = Field(default=512, ge=1)

    @property
    def max_bytes(self) -> int:
        return self.max_kib << 10


class PrivacyPolicy(Settings):
    """What happens with each kind of personal data. `phone_regions`: countries (ISO 3166) whose numbers are known
    without a country code. Secrets have no key here: they are always refused."""

    email: Action = "redact"
    phone: Action = "redact"
    card: Action = "redact"
    iban: Action = "redact"
    national_id: Action = "redact"
    phone_regions: tuple[str, ...] = ("US", "GB", "DE", "FR")

    def action(self, kind: Kind | Literal["secret"]) -> Action:
        found: Action = "refuse" if kind == "secret" else getattr(self, kind)
        return found


class DataPolicy(Settings):
    """The whole file."""

    documents: DocumentPolicy = DocumentPolicy()
    privacy: PrivacyPolicy = PrivacyPolicy()


def load_policy(config: Path) -> DataPolicy:
    """`data.yaml` of a folder of settings. Faults are raised at once, with their lines."""
    return load_settings(config / "data.yaml", DataPolicy)
