"""config/data.yaml: the file of the repository says what the code takes for granted, and a wrong one is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from sluice.core.errors import ValidationErrors
from sluice.data.data_policy import KINDS, DataPolicy, PrivacyPolicy, load_policy

CONFIG = Path(__file__).parents[4] / "config"


def test_the_file_of_the_repository_says_every_key() -> None:
    loaded = load_policy(CONFIG)
    assert loaded == DataPolicy()
    assert loaded.model_fields_set == set(DataPolicy.model_fields)
    assert loaded.privacy.model_fields_set == set(PrivacyPolicy.model_fields)


def test_every_kind_has_an_action_and_secrets_are_always_refused() -> None:
    lax = PrivacyPolicy.model_validate(dict.fromkeys(KINDS, "allow"))
    assert {lax.action(kind) for kind in KINDS} == {"allow"}
    assert lax.action("secret") == "refuse"


def test_a_wrong_key_is_told_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text("privacy:\n  emails: allow\n  phone: hide\n")
    with pytest.raises(ValidationErrors) as raised:
        load_policy(tmp_path)
    told = str(raised.value)
    assert "data.yaml:2: privacy.emails: unknown key (did you mean 'email'?)" in told
    assert "data.yaml:3: privacy.phone" in told
