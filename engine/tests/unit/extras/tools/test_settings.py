import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sluice.core.errors import SluiceError
from sluice.extras.tools.functions import find_tickets, open_ticket, scratch
from sluice.extras.tools.settings import load_tools, tool_pins


@pytest.fixture
def config(root: Path, tmp_path: Path) -> Path:
    for name in ("tools.yaml", "tools.lock.yaml"):
        shutil.copy(root / "config" / name, tmp_path)
    return tmp_path


def test_the_digest_of_each_tool_stands_in_the_manifest(config: Path) -> None:
    pins = tool_pins(config)
    assert pins is not None
    assert list(pins) == ["find_tickets", "open_ticket", "release_status"]
    assert all(len(digest) == 64 for digest in pins.values())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("approval: always, ", ""), "a tool that writes needs `approval: always`"),
        (lambda text: text.replace("find_tickets:", "find_ticket:"), "'find_ticket' has no pin in config/tools.lock"),
        (lambda text: text.replace("  find_tickets:", "  # "), "'find_tickets' is in no other file than config/tools"),
        (lambda text: text.replace("steps: 6", "step: 6"), "step"),
        (lambda text: text.replace("use: hosted", "use: sometimes"), "use"),
    ],
)
def test_what_is_wrong_is_named(config: Path, change: Callable[[str], Any], message: str) -> None:
    file = config / "tools.yaml"
    file.write_text(change(file.read_text()))
    with pytest.raises(SluiceError, match=message):
        load_tools(config)


def test_the_same_key_is_one_ticket() -> None:
    with scratch():
        said = {open_ticket("Lost citations", "quince", idempotency_key="k") for _ in range(2)}
        assert said == {"Ticket 4 is open."}
        assert find_tickets("lost citations") == "Ticket 4 (open, release quince): Lost citations."


def test_a_file_keeps_what_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICE_WORLD", str(tmp_path / "world.sqlite"))
    open_ticket("Kept", "plum", idempotency_key="k")
    assert find_tickets("Kept").startswith("Ticket 4")
    assert (tmp_path / "world.sqlite").stat().st_size > 0
