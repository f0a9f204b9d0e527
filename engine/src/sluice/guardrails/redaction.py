"""What is taken out of a text before it is kept: personal data and secrets, whatever config/guardrails.yaml says.

The plain form is searched, not every reading: what is encoded in a kept text is no raw personal data, and every text
that is kept passes here.
"""

from __future__ import annotations

from sluice.guardrails import personal_data, secrets
from sluice.guardrails.guards import redacted
from sluice.guardrails.unfolding.layer import original
from sluice.guardrails.unfolding.letters import plain


def redact(text: str) -> str:
    """The text with `[redacted: <kind>]` in the place of each finding."""
    seen = plain(original(text))
    found = [
        *personal_data.find(seen.text, personal_data.Options.model_validate({})),
        *secrets.find(seen.text, secrets.Options.model_validate({})),
    ]
    return redacted(text, [(*seen.original(each.start, each.end), each.reason) for each in found])
