"""Personal data and secrets of a conversation, searched for in all that a run leaves: log, traces, feedback."""

from __future__ import annotations

from pathlib import Path

from sluice.guardrails.guards import Guards
from sluice.serving.release_parts import ReleaseBundle
from sluice.serving.telemetry.telemetry import ProcessFacts
from unit.serving.telemetry.seeded_people import MANY, left_of_people, serve_people


def test_after_a_run_with_seeded_data_nothing_of_it_is_on_disk(
    bundle: ReleaseBundle, facts: ProcessFacts, guards: Guards, tmp_path: Path
) -> None:
    serve_people(tmp_path, bundle, facts, guards)
    spooled = "".join(path.read_text() for path in (tmp_path / ".sluice" / "traces").iterdir())
    assert spooled.count("[redacted: ") >= MANY  # contents are there, without what is personal
    assert len((tmp_path / "log").read_text().splitlines()) >= 2 * MANY
    assert left_of_people(tmp_path) == []
