"""The grammar of answers that stand in the passages, in the form of llama.cpp (GBNF).

A small model that was trained to copy still makes mistakes: a similar word, a number written out. Under this grammar it
can produce only consecutive words of one passage, or the decline text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

# Scripts that put no spaces between words, or write particles without one: each character is a piece.
_ALONE = "\u0e00-\u0eff\u1780-\u17ff\u3040-\u9fff\uac00-\ud7af"
_PIECE = re.compile(rf"(\s*)([{_ALONE}]|[^\W{_ALONE}]+|[^\w\s])")
_ENDS = frozenset(".,;:!?%)]}")  # no answer begins with these


def grammar(passages: Sequence[str], decline: str) -> str:
    """Of all spans of each passage, and of `decline`. A span begins and ends at a word or a mark; white space is one
    space, and the first letter may be large or small.

    Rule `r<n>` is what may follow the piece before it: nothing, or piece n and what may follow that.
    """
    begins = [_quoted(decline)]
    rules: list[str] = []
    for passage in passages:
        for gap, piece in _PIECE.findall(passage):
            following = f"r{len(rules) + 1}"
            if piece not in _ENDS:
                begins.append(f"{_begin(piece)} {following}")
            rules.append(f"r{len(rules)} ::= | {_quoted((gap and ' ') + piece)} {following}")
        rules.append(f'r{len(rules)} ::= ""')
    return "\n".join([f"root ::= {' | '.join(begins)}", *rules])


def _begin(piece: str) -> str:
    forms = {piece[0].upper(), piece[0].lower()}
    if len(forms) == 1 or any(len(form) > 1 for form in forms):  # ß has a large form of two letters
        return _quoted(piece)
    return f"[{''.join(sorted(forms))}] {_quoted(piece[1:])}"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
