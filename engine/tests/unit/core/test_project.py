from pathlib import Path

import pytest
import yaml

from sluice.core.errors import SluiceError, ValidationErrors
from sluice.core.project import PROJECT, edit_project, load_project

NAMES = {
    "name": "quarry",
    "organisation": "octo",
    "region": "eu-west-1",
    "image": "ghcr.io/octo/quarry",
    "environments": ["trial", "actual"],
}


def write(root: Path, **changes: object) -> Path:
    path = root / PROJECT
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump({**NAMES, **changes}))
    return root / "config"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", "No Name"),
        ("organisation", "no owner"),
        ("region", "moon"),
        ("image", "ghcr.io/octo/quarry:latest"),
        ("environments", ["trial", "trial"]),
        ("application", "assistant.app"),
        ("colour", "green"),
    ],
)
def test_what_is_no_name_is_refused_with_its_line(tmp_path: Path, key: str, value: object) -> None:
    with pytest.raises(ValidationErrors, match=rf"project\.yaml:\d+: {key}"):
        load_project(write(tmp_path, **{key: value}))


def test_a_checkout_without_the_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(SluiceError, match="no such file, so the names of this project are not known"):
        load_project(tmp_path / "config")


def test_a_value_is_set_and_comments_stay() -> None:
    text = "# Head\nname: quarry   # its label\nenvironments: [a, b]\n"
    edited = edit_project(text, {"name": "desk", "environments": ["uat", "live"], "template": {"repository": ""}})
    assert edited == "# Head\nname: desk     # its label\nenvironments: [uat, live]\ntemplate: {repository: ''}\n"
    assert yaml.safe_load(edit_project(edited, {"template": {"repository": "git@host:o/t.git"}}))["template"] == {
        "repository": "git@host:o/t.git"
    }
    assert yaml.safe_load(edit_project(text, {"name": "no"}))["name"] == "no", "a word of YAML stays text"


def test_a_value_on_several_lines_is_refused() -> None:
    with pytest.raises(SluiceError, match="without is written over several lines"):
        edit_project("without:\n  - notebook\n", {"without": ["notebook", "datakit"]})
