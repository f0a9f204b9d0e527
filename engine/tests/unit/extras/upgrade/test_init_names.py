import sys

import pytest
import typer

from sluice.core.errors import ValidationErrors
from sluice.core.project import Project
from sluice.extras.upgrade import cli as template

CURRENT = Project(
    name="quarry",
    organisation="octo",
    image="ghcr.io/octo/quarry",
    region="eu-west-1",
    environments=("trial", "actual"),
)


def test_on_a_terminal_what_is_left_out_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {}

    def prompt(key: str, *, default: str) -> str:
        asked[key] = default
        return "desk" if key == "name" else default

    for stream in (sys.stdin, sys.stdout):
        monkeypatch.setattr(stream, "isatty", lambda: True)
    monkeypatch.setattr(typer, "prompt", prompt)
    chosen = template._chosen(CURRENT, {"name": "", "organisation": "acme", "image": "", "region": ""})
    assert asked == {"name": "quarry", "image": "ghcr.io/acme/desk", "region": "eu-west-1"}
    assert (chosen.name, chosen.organisation, chosen.image) == ("desk", "acme", "ghcr.io/acme/desk")


def test_all_that_is_no_name_is_said_at_once() -> None:
    with pytest.raises(ValidationErrors) as caught:
        template._chosen(CURRENT, {"name": "No Name", "region": "moon"})
    assert [fault.partition(":")[0] for fault in caught.value.faults] == ["--name", "--region"]
    for words in ("trial,trial", "one-only", "a,b,c"):
        with pytest.raises(ValidationErrors, match="--environments: "):
            template._chosen(CURRENT, {"environments": words})
    assert template._chosen(CURRENT, {"environments": "uat,prod"}).environments == ("uat", "prod")
