"""Tokens of chat templates in what a model is told. Servers of open models (llama.cpp, vLLM, Ollama) read them in the
content of messages too: `<|im_end|>` in a question ends its turn, and the rest may then speak for the system."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

# Those around turns: of ChatML, Llama 2 and 3, Phi, DeepSeek, EXAONE, Gemma and Mistral.
_NAMES = r"s|bos|eos|(?:start|end)_of_turn|INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_\w+"
_BEGINNING = re.compile(rf"[<\[](?=[|｜][^\W\d][^\s|｜]*[|｜][>\]]|/?(?:{_NAMES})[>\]])")


def read_as_text(said: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Messages or tools with a space behind the first letter of each such token; as they are where there is none."""
    text = json.dumps(list(said), ensure_ascii=False)
    return list(json.loads(_BEGINNING.sub(r"\g<0> ", text)) if _BEGINNING.search(text) else said)
