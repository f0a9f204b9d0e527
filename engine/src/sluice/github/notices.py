"""Notices, which are not failures: a line on a terminal, an annotation of the run on GitHub."""

from __future__ import annotations

from collections.abc import Mapping


def notice(text: str, environment: Mapping[str, str]) -> None:
    """Prints one line.

    Args:
        text: Made one line.
        environment: Where GITHUB_ACTIONS is `true`, the line is an annotation.
    """
    line = " ".join(text.split())
    print(f"::notice::{line.replace('%', '%25')}" if environment.get("GITHUB_ACTIONS") == "true" else line)
