from pathlib import Path
from typing import Any

import pytest
import yaml

from sluice.core.errors import ValidationErrors
from sluice.core.settings import load_settings
from sluice.guardrails.check import CHECKS
from sluice.guardrails.settings import GuardrailSettings

ROOT = Path(__file__).parents[4]
LOWERCASE = "guardrails/lowercase"
GOOD: dict[str, Any] = {
    "input": [{"check": "length", "action": "block", "options": {"max_characters": 9}}],
    "output": [{"check": "secrets", "action": "redact"}],
}


def read(tmp_path: Path, document: Any) -> GuardrailSettings:
    path = tmp_path / "guardrails.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return load_settings(path, GuardrailSettings)


def test_the_file_of_the_repository_is_valid() -> None:
    settings = load_settings(ROOT / "config" / "guardrails.yaml", GuardrailSettings)
    named = {entry.check for entry in (*settings.input, *settings.passages, *settings.output)}
    assert named == set(CHECKS) - {"topic", "format"}


@pytest.mark.parametrize(
    ("stage", "said"),
    [
        ([{"check": "secret", "action": "redact"}], ":2: input.0.check: Value error, no check 'secret' (did you mean"),
        ([{"check": "toxicity", "action": "block"}], "(removed: take a validator of guardrails-ai"),
        ([{"check": "length", "action": "redact"}], "length cannot redact; use block"),
        ([{"check": "length", "action": "drop"}], "input: length cannot drop there; use block or redact or annotate"),
        (
            [{"check": "length", "action": "block", "options": {"max_charcters": 3}}],
            "unknown option (did you mean 'max_characters'?)",
        ),
        ([{"check": "length", "action": "block"}] * 2, "listed twice: length"),
        ([{"check": LOWERCASE, "on_fail": "fxi"}], "on_fail: 'fxi': in place of action, one of exception"),
        ([{"check": LOWERCASE, "on_fail": "fix", "action": "block"}], "in place of action"),
        ([{"check": LOWERCASE, "on_fail": "filter"}], "input: guardrails/lowercase cannot drop there"),
        ([{"check": "secrets", "on_fail": "fix", "whole": True}], "secrets: whole is for validators of guardrails-ai"),
        ([], "input: Value error, no check is listed"),
    ],
)
def test_faults_name_the_place_and_the_nearest_name(tmp_path: Path, stage: list[Any], said: str) -> None:
    with pytest.raises(ValidationErrors) as raised:
        read(tmp_path, {**GOOD, "input": stage})
    assert said in str(raised.value)
    assert "guardrails.yaml:" in str(raised.value)


@pytest.mark.parametrize("whole", [False, True])
def test_a_whole_answer_is_held_back_for_who_asks_for_it(tmp_path: Path, whole: bool) -> None:
    entry = {"check": LOWERCASE, "on_fail": "fix", "whole": whole}
    assert read(tmp_path, {**GOOD, "output": [entry]}).whole_output is whole


def test_an_empty_file_is_no_pass(tmp_path: Path) -> None:
    with pytest.raises(ValidationErrors, match="Field required"):
        read(tmp_path, None)
