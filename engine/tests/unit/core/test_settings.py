from pathlib import Path

import pytest
from pydantic import Field

from sluice.core.errors import SluiceError, ValidationErrors
from sluice.core.settings import Settings, load_settings, read_yaml


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


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("decline: x\n# note\ndeclime: y\n", "3: declime: unknown key (did you mean 'decline'?)"),
        ("decline: x\nqqqq: y\n", "2: qqqq: unknown key"),
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
    ],
)
def test_unknown_key_has_its_line_and_the_nearest_name(write, text: str, fault: str) -> None:
    assert faults(write(text)) == [fault]


def test_all_faults_at_once(write) -> None:
    found = faults(write("steps:\n  - weight: 101\n  - weight: x\n    extra: 1\nlimit: {kind: a}\n"))
    assert [fault.partition(" ")[0] for fault in found] == ["1:", "2:", "3:", "4:", "5:"]
    assert "decline: Field required" in found[0]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("decline: x\n  limits: [\n", ":2: not valid YAML"),
        ("a: !!python/object:os.system {}\n", ":1: not valid YAML"),
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
