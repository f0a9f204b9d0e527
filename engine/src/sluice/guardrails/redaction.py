"""What is taken out of a text before it is kept: personal data and secrets, whatever config/guardrails.yaml says.

The plain form is searched, not every reading: what is encoded in a kept text is no raw personal data, and every text
that is kept passes here.
"""

from __future__ import annotations

from sluice.guardrails.check import NoOptions
from sluice.guardrails.checks import personal_data, secrets
from sluice.guardrails.context import CheckResources
from sluice.guardrails.guards import redacted
from sluice.guardrails.unfolding.letters import plain
from sluice.guardrails.unfolding.reading import original

_CHECKS = (
    personal_data.PersonalData(personal_data.Options.model_validate({}), CheckResources()),
    secrets.Secrets(NoOptions(), CheckResources()),
)


def redact(text: str) -> str:
    """The text with `[redacted: <kind>]` in the place of each finding."""
    seen = plain(original(text))
    found = [each for check in _CHECKS for each in check.find_in(seen.text)]
    return redacted(text, [(*seen.original(each.start, each.end), each.reason) for each in found])
