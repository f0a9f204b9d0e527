"""The drill of engine/benchmarks/canary_drill.py and promotion.py in small."""

from pathlib import Path

import pytest

from sluice.core.atomic_files import read_json
from support.rollout.drill import GOOD, PIECE_SECONDS, WAYS, drill, plan_of_the_cluster
from support.rollout.promotion import NEW, OLD, promote

pytestmark = [pytest.mark.real, pytest.mark.drill]

TIME_SCALE, CASES = 0.06, 60
PATIENCE = 240.0  # seconds; answers of a machine that is busy elsewhere
# Twice as long is 1.6 times as long also where a machine takes a few tenths of a second for an answer.
PIECES = {"writes half as fast": 3 * PIECE_SECONDS}


@pytest.mark.parametrize(
    ("name", "gate"),
    [
        ("503 to one question in ten", "quality"),
        ("one stream in ten cut midway", "quality"),
        ("writes half as fast", "canary_slowdown"),
        ("other words in every answer", "quality_answer_key"),
        ("declines nothing", "quality_decline_accuracy"),
    ],
)
def test_a_bad_canary_is_stopped_before_many_visitors_meet_it(name: str, gate: str, tmp_path: Path) -> None:
    piece = PIECES.get(name, PIECE_SECONDS)
    found = drill(WAYS[name], tmp_path, time_scale=TIME_SCALE, cases=CASES, patience=PATIENCE, piece=piece)
    assert gate in found.stopped_by.split(", "), found.reason
    last = read_json(tmp_path / "rehearsal.json")["steps"][-1]
    assert (last["verdict"], last["reason"]) == ("failed", found.reason)
    assert gate in {verdict["gate"] for verdict in last["gates"] if not verdict["passed"]}
    assert found.intervals <= 2
    assert found.exposed <= 0.12
    assert found.outside == 0


def test_a_good_canary_takes_all_visitors(tmp_path: Path) -> None:
    found = drill(GOOD, tmp_path, time_scale=TIME_SCALE, cases=CASES, patience=PATIENCE)
    assert not found.stopped, found.reason
    assert found.intervals == sum(bool(step.parameters) for step in plan_of_the_cluster().steps)
    assert found.requests > 10
    assert found.outside == 0


def test_no_request_fails_while_a_release_takes_over(tmp_path: Path) -> None:
    found = promote(1500, tmp_path)
    assert not found.failed
    assert found.requests == found.served[OLD] + found.served[NEW] >= 1500
    assert min(found.served[OLD], found.served[NEW]) > 400
    assert found.in_flight > 0, "nobody was being answered when the old release got its signal"
    assert found.alone > 50, "nobody asked after the old release had gone"
