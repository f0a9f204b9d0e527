from __future__ import annotations

from sluice.retrieval import Hit, format_passages


def test_passages_are_numbered_from_one() -> None:
    hits = [Hit(f"{name}#0", name, name.title(), f"Text of {name}.", 0.1, 0.5) for name in ("one", "two")]
    assert format_passages(hits) == "[1] One: Text of one.\n[2] Two: Text of two."
    assert format_passages([]) == "(no passages)"
