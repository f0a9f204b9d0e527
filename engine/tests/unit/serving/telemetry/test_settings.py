from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from sluice.core.errors import SluiceError
from sluice.core.settings import load_settings
from sluice.serving.telemetry.settings import TelemetrySettings, TraceSettings

FILE = Path(__file__).parents[5] / "config" / "telemetry.yaml"


def changed(tmp_path: Path, **traces: Any) -> Path:
    document = yaml.safe_load(FILE.read_text())
    document["traces"] |= traces
    path = tmp_path / "telemetry.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def test_the_repository_s_file_traces_to_mlflow_without_contents() -> None:
    settings = load_settings(FILE, TelemetrySettings)
    assert settings.traces.exporters == ("mlflow",)
    assert settings.traces.contents is False
    assert settings.traces.ratio == TraceSettings.model_validate({"exporters": "none"}).ratio == 0.1
    assert settings.traces.mlflow.tracking_uri == ""


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"exporters": ["mlfow"]}, r"no exporter 'mlfow' \(did you mean 'mlflow'\?\)"),
        ({"exporters": ["otlp", "otlp"]}, "one is listed twice"),
        ({"ratio": 1.5}, "less than or equal to 1"),
        ({"content": True}, r"unknown key \(did you mean 'contents'\?\)"),
        ({"mlflow": {"tracking_uri": "sqlite:///x.db"}}, "should match pattern"),
    ],
)
def test_what_cannot_work_is_told(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    with pytest.raises(SluiceError, match=said):
        load_settings(changed(tmp_path, **change), TelemetrySettings)
