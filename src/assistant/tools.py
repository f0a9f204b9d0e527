"""Functions that a model may call, each with `@tool`: `services.tools` gives them to the application.

This application calls none. An agent would bind them to its model.
"""

from __future__ import annotations

from datetime import UTC, datetime

from sluice.extend import tool


@tool
def today() -> str:
    """Today's date in UTC, as YYYY-MM-DD."""
    return datetime.now(UTC).date().isoformat()
