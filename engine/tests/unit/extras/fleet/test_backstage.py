"""The catalogue has the form that Backstage's own schemas ask for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from sluice import cli
from sluice.core.errors import ValidationErrors
from sluice.extras.fleet.backstage import catalogue
from sluice.extras.fleet.fleet_file import FleetFile

# What github.com/backstage/backstage, packages/catalog-model/src/schema at 1f0ed72 asks of a component: what
# kinds/Component.v1alpha1.schema.json and EntityMeta.schema.json require, with the types of what is written here.
_WORD = {"type": "string", "minLength": 1}
SCHEMA = {
    "type": "object",
    "required": ["apiVersion", "kind", "metadata", "spec"],
    "properties": {
        "apiVersion": {"enum": ["backstage.io/v1alpha1", "backstage.io/v1beta1"]},
        "kind": {"enum": ["Component"]},
        "metadata": {
            "type": "object",
            "required": ["name"],
            "properties": {"name": _WORD, "annotations": {"type": "object", "patternProperties": {"^.+$": _WORD}}},
        },
        "spec": {
            "type": "object",
            "required": ["type", "lifecycle", "owner"],
            "properties": {"type": _WORD, "lifecycle": _WORD, "owner": _WORD},
        },
    },
}


def fleet(*projects: tuple[str, str]) -> FleetFile:
    listed = [{"repository": name, "owners": [owner], "ring": "all"} for name, owner in projects]
    return FleetFile.model_validate({"template": "octo/template", "rings": ["all"], "projects": listed})


def test_each_project_is_a_component_of_its_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = fleet(("octo/one", "@octo/search"), ("octo/two", "@octocat"), ("other/two", "plain"))
    monkeypatch.chdir(tmp_path)
    Path("fleet.yaml").write_text(json.dumps(chosen.model_dump(mode="json", exclude_none=True)))
    cli.command()(["fleet", "backstage"], standalone_mode=False)
    found: list[dict[str, Any]] = list(yaml.safe_load_all(capsys.readouterr().out))
    for entity in found:
        assert list(Draft7Validator(SCHEMA).iter_errors(entity)) == []
    assert [(one["metadata"]["name"], one["spec"]["owner"]) for one in found] == [
        ("one", "group:search"),
        ("octo.two", "user:octocat"),
        ("other.two", "user:plain"),
    ]
    assert found[0]["metadata"]["annotations"] == {"github.com/project-slug": "octo/one"}


@pytest.mark.parametrize("name", ["octo/.github", "octo/ends-", f"octo/{'a' * 64}"])
def test_a_name_that_backstage_does_not_take_is_named(name: str) -> None:
    with pytest.raises(ValidationErrors, match="not a name of Backstage"):
        catalogue(fleet((name, "@octo/search")))
