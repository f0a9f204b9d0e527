from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from sluice.core.errors import ValidationErrors
from sluice.core.settings import load_settings
from sluice.serving.settings import ServiceSettings

FILE = Path(__file__).parents[4] / "config" / "service.yaml"


def test_the_file_of_the_repository_is_valid() -> None:
    assert load_settings(FILE, ServiceSettings).decline == "The handbook does not say."


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


def test_nothing_has_a_default(tmp_path: Path) -> None:
    path = tmp_path / "service.yaml"
    path.write_text("decline: no\n")
    with pytest.raises(ValidationErrors) as raised:
        load_settings(path, ServiceSettings)
    assert len(raised.value.faults) == 4 + 1  # YAML reads `no` as a boolean
