"""A notice is an annotation on GitHub and a plain line elsewhere."""

from __future__ import annotations

import pytest

from sluice.extras.traffic.notices import notice


def test_a_notice_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    notice("nothing\nto do: 100 %", {})
    notice("nothing\nto do: 100 %", {"GITHUB_ACTIONS": "true"})
    assert capsys.readouterr().out == "nothing to do: 100 %\n::notice::nothing to do: 100 %25\n"
