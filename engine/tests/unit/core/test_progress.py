import io
import re
from pathlib import Path

import pytest

from sluice.core import progress
from sluice.core.atomic_files import read_json
from sluice.core.progress import VARIABLE, PipelineProgress, StageReporter


class Clock:
    now = 1000.0


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock.now)
    monkeypatch.delenv(VARIABLE, raising=False)
    return clock


def left(line: str) -> str:
    found = re.search(r".*  (\S.*) left$", line.strip())
    assert found, line
    return found[1]


def test_forecast_is_this_stage_and_those_ahead(tmp_path: Path, clock: Clock) -> None:
    out = io.StringIO()
    journey = PipelineProgress({"index": 20, "train": 100, "evaluate": 80}, tmp_path / "memory.json", out)
    journey.begin("index")
    assert out.getvalue() == "[  0%] index   0%   3 min 20 s left\n"
    clock.now += 10
    journey.show(0.25, "", force=True)  # the forecast said 20 s, the pace says 40; then 180 s of the others
    assert left(out.getvalue().splitlines()[-1]) == "3 min 19 s"
    assert out.getvalue().splitlines()[-1].startswith("[  5%]")
    clock.now += 20
    journey.show(0.75, "", force=True)  # now nearer to the pace
    assert left(out.getvalue().splitlines()[-1]) == "3 min 09 s"
    clock.now += 10
    journey.end()
    journey.begin("train")
    assert left(out.getvalue().splitlines()[-1]) == "3 min 00 s"
    assert journey.taken == [{"stage": "index", "seconds": 40.0, "cached": False, "note": ""}]


def test_reporter_writes_where_the_road_looks(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "progress.json"
    monkeypatch.setenv(VARIABLE, str(target))
    reporter = StageReporter("train")
    clock.now += 1
    reporter.report(5, 20, "loss 2.1")
    assert read_json(target) == {"stage": "train", "share": 0.25, "note": "loss 2.1"}
    clock.now += 0.1
    reporter.report(6, 20)
    assert read_json(target)["share"] == 0.25  # at most five a second
    assert capsys.readouterr().err == ""
    monkeypatch.delenv(VARIABLE)
    clock.now += 9
    reporter.report(10, 20, "alone")
    assert capsys.readouterr().err == "train: 10/20 alone (10 s left)\n"

    out = io.StringIO()
    journey = PipelineProgress({"train": 100}, tmp_path / "memory.json", out)
    journey.begin("train")
    clock.now += 30
    journey.follow(target)
    assert "train  25% loss 2.1" in out.getvalue().splitlines()[-1]
