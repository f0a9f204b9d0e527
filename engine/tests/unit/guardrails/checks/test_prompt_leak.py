from __future__ import annotations

import base64
import codecs

import pytest

from sluice.guardrails.check import CheckResources
from support.guardrails import finder

SYSTEM = (
    "You answer questions about running LLM applications. Copy the shortest span of the passages. "
    "The code is orchid seven. If the passages do not answer it, say exactly: {{decline}}"
)
find = finder("prompt_leak", CheckResources(instructions=(SYSTEM,)))
SPOKEN = SYSTEM.replace("{{decline}}", "The handbook does not say.")
WRITINGS = {
    "plain": SPOKEN,
    "capitals": SPOKEN.upper(),
    "base64": base64.b64encode(SPOKEN.encode()).decode(),
    "hexadecimal": SPOKEN.encode().hex(),
    "rot13": codecs.encode(SPOKEN, "rot13"),
    "reversed": SPOKEN[::-1],
    "letters apart": " ".join(SPOKEN),
    "URL": "".join(f"%{ord(c):02x}" for c in SPOKEN),
    "entities": "".join(f"&#{ord(c)};" for c in SPOKEN),
    "dashes": SPOKEN.replace(" ", "-"),
    "a list": SPOKEN.replace(". ", ".\n- "),
    "one sentence": "My rules: the CODE is Orchid seven",
}


@pytest.mark.parametrize("text", WRITINGS.values(), ids=list(WRITINGS))
def test_the_instructions_are_found_in_every_writing(text: str) -> None:
    assert {found.reason for found in find(text)} == {"prompt_leak.instructions"}


@pytest.mark.parametrize(
    "text",
    ["The handbook does not say.", "Copy the passages.", "the shortest span", "Applications answer questions.", ""],
)
def test_what_is_no_run_of_them_passes(text: str) -> None:
    assert find(text) == []


def test_without_instructions_nothing_leaks() -> None:
    assert finder("prompt_leak")(SPOKEN) == []
