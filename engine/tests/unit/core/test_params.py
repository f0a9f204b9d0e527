import pytest

from sluice.core.errors import SluiceError, ValidationErrors
from sluice.core.params import load_params, set_params
from sluice.core.settings import Settings
from sluice.core.workspace import Workspace


class Train(Settings):
    steps: int
    rate: float = 0.1


def test_faults_have_file_line_and_nearest_key(workspace: Workspace) -> None:
    workspace.params.write_text("index: {a: 1}\ntrain:\n  stepz: 7\n  rate: fast\n")
    with pytest.raises(ValidationErrors) as caught:
        load_params(workspace.params, "train", Train)
    assert len(caught.value.faults) == 3
    assert f"{workspace.params}:3: train.stepz: unknown key (did you mean 'steps'?)" in caught.value.faults
    assert any(f.startswith(f"{workspace.params}:4: train.rate: ") for f in caught.value.faults)


@pytest.mark.parametrize("text", ["", "- train\n", "index: {}\n"])
def test_a_missing_section_is_named(workspace: Workspace, text: str) -> None:
    workspace.params.write_text(text)
    with pytest.raises(SluiceError, match=r"params\.yaml: no section 'train'"):
        load_params(workspace.params, "train", Train)


class Index(Settings):
    chunker: dict[str, int | str]


MODELS: dict[str, type[Settings]] = {"index": Index, "train": Train}
TEXT = "# head\nindex:\n  chunker: {name: paragraph, words: 120}\ntrain:\n  steps: 7   # why\n"


def test_values_are_set_and_comments_stay(workspace: Workspace) -> None:
    workspace.params.write_text(TEXT)
    set_params(workspace.params, ["train.steps=9", "train.rate=0.0001", "index.chunker.words=80"], MODELS)
    assert workspace.params.read_text() == (
        "# head\nindex:\n  chunker: {name: paragraph, words: 80}\ntrain:\n  steps: 9   # why\n  rate: 0.0001\n"
    )


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("train.steps", "is not section.key=value"),
        ("trian.steps=3", "no section 'trian' .did you mean 'train'"),
        ("train.steps=[1]", "not a number, a word"),
        ("train.steps=many", "train.steps: "),
        ("train.stepz=3", "unknown key .did you mean 'steps'"),
        ("train.steps.more=3", "'steps' is a value"),
    ],
)
def test_what_cannot_be_set_changes_nothing(workspace: Workspace, assignment: str, words: str) -> None:
    workspace.params.write_text(TEXT)
    with pytest.raises(SluiceError, match=words):
        set_params(workspace.params, ["index.chunker.words=80", assignment], MODELS)
    assert workspace.params.read_text() == TEXT
