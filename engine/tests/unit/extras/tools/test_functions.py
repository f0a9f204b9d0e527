"""The small world that comes with the extra."""

from __future__ import annotations

from pathlib import Path

import pytest

from sluice.extras.tools.functions import find_tickets, open_ticket, release_status, scratch


def test_the_same_key_is_one_ticket() -> None:
    with scratch():
        said = {open_ticket("Lost citations", "quince", idempotency_key="k") for _ in range(2)}
        assert said == {"Ticket 4 is open."}
        assert find_tickets("lost citations") == "Ticket 4 (open, release quince): Lost citations."


def test_what_is_read() -> None:
    with scratch():
        assert release_status("quince").startswith(
            "Release quince is stopped since 2026-03-09, with 0 % of the visitors."
        )
        assert len(release_status().splitlines()) == 3
        assert release_status("fig") == "There is no release fig."
        assert find_tickets("mango") == "No ticket is like that.", "it is closed"
        assert find_tickets("mango", state="any").startswith("Ticket 2 (closed")


def test_a_file_keeps_what_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICE_WORLD", str(tmp_path / "world.sqlite"))
    open_ticket("Kept", "plum", idempotency_key="k")
    assert find_tickets("Kept").startswith("Ticket 4")
    assert (tmp_path / "world.sqlite").stat().st_size > 0
