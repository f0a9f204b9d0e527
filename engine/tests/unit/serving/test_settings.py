from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from sluice.core.errors import SluiceError, ValidationErrors
from sluice.core.settings import load_settings
from sluice.serving.settings import ServiceSettings
from sluice.serving.telemetry.settings import TelemetrySettings, TraceSettings

FILE = Path(__file__).parents[4] / "config" / "service.yaml"


@pytest.mark.parametrize(
    ("section", "key", "value", "said"),
    [
        ("llm", "slots", 16, "context 4096 over 16 slots leaves 256 tokens each"),
        ("llm", "slot", 1, "unknown key (did you mean 'slots'?)"),
        ("retrieval", "min_similarity", 2, "less than or equal to 1"),
        ("limits", "max_concurrent", 0, "greater than or equal to 1"),
        ("limits", "connections", {"max_open": 9}, "limits.connections: unknown key (removed: set limits in the proxy"),
    ],
)
def test_faults_name_line_and_key(tmp_path: Path, section: str, key: str, value: object, said: str) -> None:
    document = yaml.safe_load(FILE.read_text())
    document[section][key] = value
    path = tmp_path / "service.yaml"
    path.write_text(yaml.safe_dump(document))
    with pytest.raises(ValidationErrors, match=section) as raised:
        load_settings(path, ServiceSettings)
    assert said in str(raised.value)


TELEMETRY = Path(__file__).parents[4] / "config" / "telemetry.yaml"


def test_the_repository_s_file_traces_to_mlflow_without_contents() -> None:
    settings = load_settings(TELEMETRY, TelemetrySettings)
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
    document = yaml.safe_load(TELEMETRY.read_text())
    document["traces"] |= change
    path = tmp_path / "telemetry.yaml"
    path.write_text(yaml.safe_dump(document))
    with pytest.raises(SluiceError, match=said):
        load_settings(path, TelemetrySettings)
