"""Hosted models that their providers retire, by the dates in model_end_dates.yaml."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

from sluice.core.settings import Settings, load_settings

NOTICE = timedelta(days=60)


class ModelEnd(Settings):
    """The last day of a hosted model, and the page that says so."""

    model: str
    ends: date
    source: str


class EndDates(Settings):
    """The table, and the day on which its sources were read."""

    checked: date
    models: tuple[ModelEnd, ...]

    def named_in(self, text: str, day: date) -> Iterator[ModelEnd]:
        """Yield the models in a text that have ended on a day, or end within the notice."""
        for one in self.models:
            # A provider or region may stand before it; a snapshot's date and version behind it.
            name = rf"(?<![\w-]){re.escape(one.model)}(-\d{{4}}-?\d\d-?\d\d)?(-v\d(:\d)?)?(?![\w-]|\.\d)"
            if one.ends <= day + NOTICE and re.search(name, text):
                yield one


def load_end_dates() -> EndDates:
    """Read the table."""
    return load_settings(Path(__file__).with_name("model_end_dates.yaml"), EndDates)
