import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sluice.core.errors import SluiceError
from sluice.core.registry import Registry, load_optional

MODULE = """
import {package}
{package}.ENTRIES.add({name!r}, {name!r} + " of {module}", __name__)
"""


@pytest.fixture
def entries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry[str]]:
    """A registry over the packages `engine_things` and `assistant.things`."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(tmp_path))
    for saved in [name for name in sys.modules if name.partition(".")[0] == "assistant"]:
        monkeypatch.delitem(sys.modules, saved)
    (tmp_path / "engine_things").mkdir()
    (tmp_path / "engine_things" / "__init__.py").write_text(
        "from sluice.core.registry import Registry\n"
        "ENTRIES = Registry('thing', 'engine_things', 'assistant.things', 'assistant.none')\n"
    )
    (tmp_path / "assistant" / "things").mkdir(parents=True)
    (tmp_path / "assistant" / "__init__.py").touch()
    import engine_things

    yield engine_things.ENTRIES
    for name in set(sys.modules) - before:
        sys.modules.pop(name)


def write(folder: Path, module: str, *names: str) -> None:
    package = "engine_things"
    text = "".join(MODULE.format(package=package, name=name, module=module) for name in names)
    (folder / module).with_suffix(".py").write_text(text)


def test_all_entries_of_all_modules_by_package_and_module(entries: Registry[str], tmp_path: Path) -> None:
    write(tmp_path / "assistant" / "things", "a", "own")
    write(tmp_path / "engine_things", "b", "second", "first")
    write(tmp_path / "engine_things", "a", "zero")
    assert list(entries.items()) == [
        ("zero", "zero of a"),
        ("second", "second of b"),
        ("first", "first of b"),
        ("own", "own of a"),
    ]


def test_an_entry_in_a_module_of_its_name_loads_nothing_else(entries: Registry[str], tmp_path: Path) -> None:
    write(tmp_path / "engine_things", "wanted", "wanted")
    write(tmp_path / "engine_things", "other", "other")
    assert entries["wanted"] == "wanted of wanted"
    assert "engine_things.other" not in sys.modules
    assert entries["other"] == "other of other"


def test_an_entry_in_a_module_of_another_name_is_found(entries: Registry[str], tmp_path: Path) -> None:
    write(tmp_path / "assistant" / "things", "mine", "special")
    assert "special" in entries
    assert entries["special"] == "special of mine"


def test_an_unknown_name_names_the_nearest_and_the_known(entries: Registry[str], tmp_path: Path) -> None:
    write(tmp_path / "engine_things", "a", "alpha", "beta")
    with pytest.raises(SluiceError, match=r"no thing 'alpa' \(did you mean 'alpha'\?\); known: alpha, beta"):
        entries["alpa"]
    assert "alpa" not in entries


def test_a_name_of_two_modules_is_refused(entries: Registry[str], tmp_path: Path) -> None:
    write(tmp_path / "engine_things", "a", "same")
    write(tmp_path / "assistant" / "things", "b", "same")
    with pytest.raises(SluiceError, match=r"assistant\.things\.b: the thing 'same' is already defined in engine_thing"):
        list(entries)


def test_a_module_that_cannot_be_imported_is_named(entries: Registry[str], tmp_path: Path) -> None:
    (tmp_path / "assistant" / "things" / "bad.py").write_text("1 / 0\n")
    with pytest.raises(SluiceError, match=r"src/assistant/things/bad: cannot be imported: ZeroDivisionError"):
        list(entries)


@pytest.mark.usefixtures("entries")
def test_an_optional_module_may_be_missing() -> None:
    assert load_optional("assistant.routes") is None
    assert load_optional("assistant.things.none") is None
    assert load_optional("no_such_package.routes") is None
