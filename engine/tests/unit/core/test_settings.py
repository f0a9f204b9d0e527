from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import Field, ValidationError

from sluice.core.errors import SluiceError, ValidationErrors
from sluice.core.settings import Settings, load_settings, nearest, read_yaml


class Store(Settings):
    kind: str
    size: int = 1


class Step(Settings):
    weight: int = Field(ge=0, le=100)
    stores: tuple[Store, ...] = ()


class Service(Settings):
    decline: str
    limits: Store | None = None
    steps: list[Step] = Field(default_factory=list)
    stores: dict[str, Store] = Field(default_factory=dict)
    parameters: Store | None = Field(None, alias="modelParameters")


@pytest.fixture
def write(tmp_path: Path):
    def write(text: str | bytes) -> Path:
        path = tmp_path / "service.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def faults(path: Path) -> list[str]:
    with pytest.raises(ValidationErrors) as caught:
        load_settings(path, Service)
    return [fault.removeprefix(f"{path}:") for fault in caught.value.faults]


def test_reads_and_freezes(write) -> None:
    settings = load_settings(write("decline: 'No.'\nsteps: [{weight: 5}]\n"), Service)
    assert settings.steps[0].weight == 5
    with pytest.raises(ValidationError, match="frozen"):
        settings.decline = "x"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("decline: x\n# note\ndeclime: y\n", "3: declime: unknown key (did you mean 'decline'?)"),
        ("decline: x\nqqqq: y\n", "2: qqqq: unknown key"),
        ("decline: x\nlimits:\n  kind: a\n  siz: 2\n", "4: limits.siz: unknown key (did you mean 'size'?)"),
        (
            "decline: x\nsteps:\n  - weight: 1\n  - weight: 2\n    stores:\n      - kind: a\n        knd: b\n",
            "7: steps.1.stores.0.knd: unknown key (did you mean 'kind'?)",
        ),
        (
            "decline: x\nstores:\n  local:\n    kind: a\n    siz: 3\n",
            "5: stores.local.siz: unknown key (did you mean 'size'?)",
        ),
        (
            "decline: x\nmodelParameters:\n  kind: a\n  siz: 3\n",
            "4: modelParameters.siz: unknown key (did you mean 'size'?)",
        ),
        ("decline: x\nmodelParameter: {kind: a}\n", "2: modelParameter: unknown key (did you mean 'modelParameters'?)"),
    ],
)
def test_unknown_key_has_its_line_and_the_nearest_name(write, text: str, fault: str) -> None:
    assert faults(write(text)) == [fault]


def test_all_faults_at_once(write) -> None:
    found = faults(write("steps:\n  - weight: 101\n  - weight: x\n    extra: 1\nlimit: {kind: a}\n"))
    assert [fault.partition(" ")[0] for fault in found] == ["1:", "2:", "3:", "4:", "5:"]
    assert "decline: Field required" in found[0]


def test_faults_are_counted_for_people(write) -> None:
    with pytest.raises(ValidationErrors, match="2 faults\n") as caught:
        load_settings(write("a: 1\ndecline: x\nb: 2\n"), Service)
    assert len(str(caught.value).splitlines()) == 3


def test_a_missing_key_in_a_list_points_at_its_entry(write) -> None:
    assert faults(write("decline: x\nsteps:\n  - weight: 1\n  - stores: []\n")) == ["4: steps.1.weight: Field required"]


@pytest.mark.parametrize("text", ["", "# nothing\n", "null\n"])
def test_an_empty_file_lacks_its_keys(write, text: str) -> None:
    assert faults(write(text)) == ["1: decline: Field required"]


def test_a_list_where_keys_belong(write) -> None:
    assert len(faults(write("- decline\n"))) == 1


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("decline: x\n  limits: [\n", ":2: not valid YAML"),
        ("decline: 'x\n", "not valid YAML"),
        ("a: !!python/object:os.system {}\n", ":1: not valid YAML"),
        ("a: \x07\n", ": not valid YAML"),
        ("decline: x\nlimits:\n  kind: a\n  kind: b\n", ":4: not valid YAML: key 'kind' stands here twice"),
    ],
)
def test_broken_yaml_is_named(write, text: str, place: str) -> None:
    path = write(text)
    with pytest.raises(SluiceError) as caught:
        load_settings(path, Service)
    assert place in caught.value.message
    assert caught.value.message.startswith(str(path))


def test_not_utf8_and_missing(write, tmp_path: Path) -> None:
    with pytest.raises(SluiceError, match=r"service\.yaml: not UTF-8 text .* byte 9"):
        read_yaml(write(b"decline: \xff\n"))
    with pytest.raises(SluiceError, match="gone: no such file"):
        read_yaml(tmp_path / "gone")


def test_lines_of_nested_places(write) -> None:
    _, lines = read_yaml(write("a:\n  - b: 1\n    c: 2\n  - {b: 3}\nd: |\n  text\n"))
    assert lines[("a", 0, "c")] == 3
    assert lines[("a", 1, "b")] == 4
    assert lines[("d",)] == 5


def test_the_same_anchor_in_two_places_is_no_double_key(write) -> None:
    document, lines = read_yaml(write("a: &x {k: 1}\nb: *x\n"))
    assert document["a"] == document["b"]
    assert lines[("b", "k")] == 1


@pytest.mark.parametrize(("word", "hint"), [("chatt", " (did you mean 'chat'?)"), ("zzz", ""), ("", "")])
def test_nearest(word: str, hint: str) -> None:
    assert nearest(word, ["chat", "embed"]) == hint
