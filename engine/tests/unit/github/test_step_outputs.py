from __future__ import annotations

from pathlib import Path

import pytest

from sluice.core.errors import SluiceError
from sluice.github.workflow_run import write_outputs


def test_outputs_are_appended(tmp_path: Path) -> None:
    path = tmp_path / "output"
    path.write_text("before=1\n")
    said = write_outputs({"check-code": "true", "url": "https://x.invalid/?a=b"}, {"GITHUB_OUTPUT": str(path)})
    assert said == "2 outputs written"
    assert path.read_text() == "before=1\ncheck-code=true\nurl=https://x.invalid/?a=b\n"


def test_outside_of_actions_nothing_is_written() -> None:
    assert write_outputs({"a": "b"}, {}) == "no outputs: GITHUB_OUTPUT is not set"


@pytest.mark.parametrize(
    ("name", "value"), [("a", "x\nb=y"), ("a", "x\rb=y"), ("a=b", "x"), ("a<<EOF", "x"), ("", "x")]
)
def test_an_output_never_becomes_two(tmp_path: Path, name: str, value: str) -> None:
    path = tmp_path / "output"
    with pytest.raises(SluiceError, match="a value is one line"):
        write_outputs({"good": "1", name: value}, {"GITHUB_OUTPUT": str(path)})
    assert not path.exists()
