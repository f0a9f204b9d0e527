from pathlib import Path

import pytest

from sluice.core import extras as parts
from sluice.core.errors import SluiceError
from sluice.guardrails.settings import GuardrailSettings


@pytest.mark.parametrize(
    ("text", "off"),
    [
        ("name: desk\n", set()),
        ("without: []   # guard\ntemplate: {repository: ''}\n", set()),
        ("without: [guard, language]   # ours\nname: desk\n", {"guard", "language", "sagemaker"}),
        ("without: [admin,\n  'tools']\nname: guard\n", {"admin", "tools"}),
        ("without:   # none of these\n  - small_model\n  - admin\nadopted: [guard]\n", None),
        ("without: [sweep]\n", set()),
    ],
)
def test_what_is_off_in_a_checkout(tmp_path: Path, text: str, off: set[str] | None) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / parts.PROJECT).write_text(text)
    wanted = {"admin", "small_model", "finetune", "notebook", "sagemaker"} if off is None else off
    assert parts.left_out(tmp_path) == wanted


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    names: set[str] = set()
    monkeypatch.setattr(parts, "_named", lambda _: names)
    monkeypatch.setattr(parts, "extras", parts.extras.__wrapped__)
    return names


def test_a_part_that_is_off_adds_nothing(without: set[str]) -> None:
    without |= {"guard"}
    assert not {"guard", "sagemaker"} & parts.extras().keys()
    assert parts.hooks("guard_model") == {}
    assert "sluice.extras.guard.checks" not in parts.packages("checks")
    assert parts.is_left_out("checks", "attack")
    assert not parts.is_left_out("checks", "format")


def test_entries_of_a_part_that_is_off_are_ignored(without: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sluice.guardrails.settings.is_left_out", parts.is_left_out)
    stage = [{"check": "length", "action": "block"}, {"check": "attack", "action": "block"}]
    without |= {"guard"}
    settings = GuardrailSettings.model_validate({"input": stage, "output": [{"check": "secrets", "action": "redact"}]})
    assert [one.check for one in settings.input] == ["length"]


def test_a_name_that_no_part_has_is_an_error(without: set[str]) -> None:
    without |= {"gard"}
    with pytest.raises(SluiceError, match=r"project\.yaml: without: no extra 'gard' \(did you mean 'guard'\?\)"):
        parts.extras()
