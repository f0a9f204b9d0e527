"""What of a training.json goes into MLflow."""

from __future__ import annotations

from sluice.release.training import recorded_metrics, recorded_params


def test_parameters_and_curves() -> None:
    record = {
        "parameters": {"rank": 16},
        "base_sha256": "b",
        "data_digest": "d",
        "hardware": {"cores": 2},
        "loss": [[1, 3.5], [2, 2.5]],
        "held_loss": [[2, 2.75]],
        "peak_memory_bytes": 7,
    }
    expected = {"rank": "16", "base_sha256": "b", "data_digest": "d", "hardware_cores": "2"}
    assert recorded_params(record) == expected
    assert recorded_metrics(record) == [
        ("loss", 3.5, 1),
        ("loss", 2.5, 2),
        ("held_loss", 2.75, 2),
        ("peak_memory_bytes", 7, 0),
    ]
    assert recorded_params({}) == {}
    assert recorded_metrics({}) == []
