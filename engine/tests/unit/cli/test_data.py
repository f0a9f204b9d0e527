"""`sluice data ...`: what the commands print."""

from __future__ import annotations

import json

import pytest

from unit.cli.published import here, run  # noqa: F401 - a fixture


@pytest.mark.usefixtures("here")
def test_publishing_is_one_json_and_the_rest_goes_with_it(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "push")
    assert (status, json.loads(out)["sent"]) == (0, 0)
    assert json.loads(run(capsys, "verify")[1])["objects"] == json.loads(out)["objects"]
    assert json.loads(run(capsys, "redact")[1]) == {"documents": 0, "rows": 0}
