"""Names and their forms; what is no name; the file that remembers them."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from sluice.core.errors import SluiceError
from sluice.template.names import RECORD, Names, Record, Template, load_record, save_record

GIVEN = {
    "name": "zephyr-desk",
    "organisation": "acme-labs",
    "image": "ghcr.io/acme-labs/zephyr-desk",
    "region": "eu-central-1",
    "environments": ("uat", "prod"),
}


def test_each_form_follows_from_the_name() -> None:
    names = Names(**GIVEN)
    assert (names.package, names.variable, names.class_name, names.title, names.repository) == (
        "zephyr_desk",
        "ZEPHYR_DESK",
        "ZephyrDesk",
        "Zephyr Desk",
        "acme-labs/zephyr-desk",
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", "Zephyr"),
        ("name", "zephyr_desk"),
        ("name", "zephyr--desk"),
        ("name", "zephyr-"),
        ("name", "9lives"),
        ("name", "ab"),
        ("name", "a" * 31),
        ("name", "class"),
        ("name", "json"),
        ("name", "$(touch pwn)"),
        ("name", "a/../b"),
        ("name", "zephyr\n"),
        ("organisation", "acme/labs"),
        ("organisation", "-acme"),
        ("image", "zephyr"),
        ("image", "ghcr.io/acme/zephyr:latest"),
        ("image", "ghcr.io/Acme/zephyr"),
        ("region", "Frankfurt"),
        ("environments", ("uat env", "prod")),
        ("environments", ("uat", "prod;rm")),
        ("environments", ("uat",)),
    ],
)
def test_what_is_no_name(key: str, value: object) -> None:
    with pytest.raises(ValidationError, match=key):
        Names.model_validate({**GIVEN, key: value})


def test_two_environments_have_two_names() -> None:
    with pytest.raises(ValidationError, match="different names"):
        Names.model_validate({**GIVEN, "environments": ("uat", "uat")})


def test_the_record_comes_back_as_it_was_written(tmp_path: Path) -> None:
    record = Record(template=Template(version="0.1.0", names=Names(**GIVEN)), names=Names(**GIVEN), starter_data=False)
    save_record(tmp_path, record)
    assert load_record(tmp_path) == record


def test_a_record_that_is_missing_or_edited_says_so(tmp_path: Path) -> None:
    with pytest.raises(SluiceError, match="restore it with git"):
        load_record(tmp_path)
    (tmp_path / RECORD).write_text("names: {nmae: x}\n")
    with pytest.raises(SluiceError, match=r"\.template\.yaml:1: names\.nmae: unknown key"):
        load_record(tmp_path)
