"""Redacts texts before they are stored: personal data and secrets, regardless of config/guardrails.yaml.

Only the plain form is searched, not every reading: encoded content is not plain personal data, and every stored text
passes through here.
"""

from __future__ import annotations

from sluice.guardrails.check import NoOptions
from sluice.guardrails.checks import personal_data, secrets
from sluice.guardrails.context import CheckResources
from sluice.guardrails.guards import redacted
from sluice.guardrails.text_normalization.letters import plain
from sluice.guardrails.text_normalization.reading import original

_CHECKS = (
    personal_data.PersonalDataCheck(personal_data.PersonalDataOptions.model_validate({}), CheckResources()),
    secrets.SecretsCheck(NoOptions(), CheckResources()),
)


def redact(text: str) -> str:
    """The text with `[redacted: <kind>]` instead of each finding."""
    context = plain(original(text))
    found = [each for check in _CHECKS for each in check.find_in(context.text)]
    return redacted(text, [(*context.original(each.start, each.end), each.reason) for each in found])
