"""config/data.yaml: the size a document may have, and what happens with personal data and secrets."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from sluice.core.settings import Settings, load_settings

Action = Literal["refuse", "redact", "allow"]


class DocumentPolicy(Settings):
    """`max_kib`: of one file of the corpus."""

    max_kib: int = Field(512, ge=1)

    @property
    def max_bytes(self) -> int:
        return self.max_kib << 10


class PrivacyPolicy(Settings):
    """What happens with each kind of finding. A secret may not be allowed: it would be published."""

    secret: Literal["refuse", "redact"] = "refuse"
    email: Action = "redact"
    phone: Action = "redact"
    card: Action = "redact"
    iban: Action = "redact"
    national_id: Action = "redact"

    def action(self, kind: str) -> Action:
        found: Action = getattr(self, kind)
        return found


class DataPolicy(Settings):
    """The whole file."""

    documents: DocumentPolicy = DocumentPolicy()
    privacy: PrivacyPolicy = PrivacyPolicy()


def load_policy(config: Path) -> DataPolicy:
    """`data.yaml` of a folder of settings. Faults are raised at once, with their lines."""
    return load_settings(config / "data.yaml", DataPolicy)
