"""All checks: one line each. To add one, write its file (`Options`, `find` or `make`) and its line."""

from __future__ import annotations

from collections.abc import Mapping

from sluice.guardrails import (
    attack,
    encoding,
    format,
    injection,
    length,
    markup,
    personal_data,
    prompt_leak,
    secrets,
    topic,
    toxicity,
)
from sluice.guardrails.check import Action, Check, on_every_layer

_WHOLE: tuple[Action, ...] = ("block", "drop", "annotate", "reask")
_SPANS: tuple[Action, ...] = ("block", "redact", "drop", "annotate", "reask")

CHECKS: Mapping[str, Check] = {
    "length": Check(length.Options, length.make, ("block", "drop")),
    "encoding": Check(encoding.Options, encoding.make, _WHOLE),
    "injection": Check(injection.Options, on_every_layer(injection.find), _WHOLE),
    "attack": Check(attack.Options, attack.make, _WHOLE, model=True, embedder=True),
    "topic": Check(topic.Options, topic.make, _WHOLE, embedder=True),
    "toxicity": Check(toxicity.Options, toxicity.make, _WHOLE, model=True),
    "secrets": Check(secrets.Options, on_every_layer(secrets.find), _SPANS),
    "personal_data": Check(personal_data.Options, on_every_layer(personal_data.find), _SPANS),
    "prompt_leak": Check(prompt_leak.Options, prompt_leak.make, _SPANS),
    "markup": Check(markup.Options, on_every_layer(markup.find), _SPANS),
    "format": Check(format.Options, format.make, ("block", "annotate", "reask"), whole=True),
}
