"""Extras are removed by the code of the checkout that they are in, or not at all; pages name nothing that is gone."""

from __future__ import annotations

from pathlib import Path

import pytest

from sluice.core.errors import SluiceError
from sluice.core.extras import FOLDER, Extra
from sluice.template import extras
from sluice.template.extras import remove, with_dependents


@pytest.mark.timeout(240)
@pytest.mark.parametrize("there", ["", "engine/src", FOLDER])
def test_a_checkout_without_the_package_is_refused_and_no_process_starts_another(tmp_path: Path, there: str) -> None:
    """Python takes the package that is installed in its place, which is the one that has just asked."""
    (tmp_path / there).mkdir(parents=True, exist_ok=True)
    with pytest.raises(SluiceError, match=r"engine/src/sluice/__init__\.py: no such file") as caught:
        remove(tmp_path, ["notebook"])
    assert caught.value.remedy == "restore it with git"
    assert not (tmp_path / "engine/src/sluice/__init__.py").exists()


@pytest.fixture
def of_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout of two extras that use one action, each in a workflow of its own; `one` has another, and a page."""
    there = {name: Extra("", files=(f".github/{name}.yml", f"{name}.md")) for name in ("one", "two")}
    files = {
        ".github/one.yml": f"steps: [{{uses: of/both@{'0' * 40}}}, {{uses: of/one@{'0' * 40}}}]\n",
        ".github/two.yml": f"steps: [{{uses: of/both@{'0' * 40}}}, {{uses: of/one/save@{'0' * 40}}}]\n",
        "one.md": "one\n",
        "two.md": "two\n",
        "CHANGELOG.md": "- [one](one.md): it is new\n- [two](two.md): it is new\n",
        "ledger.md": "| of/both | 0 |\n| of/one | 0 |\n| of/one/save | 0 |\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(extras, "extras", lambda: there)
    monkeypatch.setattr(extras, "HERE", (tmp_path / FOLDER).resolve())
    return tmp_path


@pytest.mark.parametrize("name", ["curation", "importing", "synthetic", "traffic"])
def test_an_extra_that_was_merged_names_the_one_that_holds_it(name: str) -> None:
    with pytest.raises(SluiceError, match=f"no extra '{name}' .*`datakit`"):
        with_dependents([name])


def test_an_action_goes_with_the_last_extra_that_uses_it(of_two: Path) -> None:
    assert "ledger.md" in remove(of_two, ["one"])
    assert (of_two / "ledger.md").read_text() == "| of/both | 0 |\n| of/one/save | 0 |\n"
    remove(of_two, ["two"])
    assert (of_two / "ledger.md").read_text() == ""


def test_the_history_says_what_it_said_without_links_to_what_is_gone(of_two: Path) -> None:
    remove(of_two, ["one"])
    assert (of_two / "CHANGELOG.md").read_text() == "- one: it is new\n- [two](two.md): it is new\n"
