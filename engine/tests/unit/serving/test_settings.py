from pathlib import Path
from typing import Any

import pytest
import yaml

from sluice.core.errors import ValidationErrors
from sluice.core.settings import load_settings
from sluice.serving.settings import ServiceSettings
from sluice.serving.telemetry.settings import TelemetrySettings, TraceSettings

CONFIG = Path(__file__).parents[4] / "config"
MODELS: dict[str, Any] = {"service": ServiceSettings, "telemetry": TelemetrySettings}


@pytest.mark.parametrize(
    ("file", "section", "change", "said"),
    [
        ("service", "llm", {"slots": 16}, "context 4096 over 16 slots leaves 256 tokens each"),
        ("service", "retrieval", {"min_similarity": 2}, "less than or equal to 1"),
        ("service", "limits", {"max_concurrent": 0}, "greater than or equal to 1"),
        ("service", "limits", {"connections": {"max_open": 9}}, "connections: unknown key (removed: set limits in"),
        ("telemetry", "traces", {"exporters": ["mlfow"]}, "no exporter 'mlfow' (did you mean 'mlflow'?)"),
        ("telemetry", "traces", {"exporters": ["otlp", "otlp"]}, "one is listed twice"),
        ("telemetry", "traces", {"ratio": 1.5}, "less than or equal to 1"),
        ("telemetry", "traces", {"mlflow": {"tracking_uri": "sqlite:///x.db"}}, "should match pattern"),
    ],
)
def test_faults_name_line_and_key(tmp_path: Path, file: str, section: str, change: dict[str, Any], said: str) -> None:
    document = yaml.safe_load((CONFIG / f"{file}.yaml").read_text())
    document[section] |= change
    path = tmp_path / f"{file}.yaml"
    path.write_text(yaml.safe_dump(document))
    with pytest.raises(ValidationErrors, match=section) as raised:
        load_settings(path, MODELS[file])
    assert said in str(raised.value)


def test_the_repository_s_file_traces_to_mlflow_without_contents() -> None:
    settings = load_settings(CONFIG / "telemetry.yaml", TelemetrySettings)
    assert settings.traces.exporters == ("mlflow",)
    assert settings.traces.contents is False
    assert settings.traces.ratio == TraceSettings.model_validate({"exporters": "none"}).ratio == 0.1
    assert settings.traces.mlflow.tracking_uri == ""
