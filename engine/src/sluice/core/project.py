"""config/project.yaml: what a project is called, where it lies, and which application it is."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from sluice.core.settings import Settings, load_settings

FILE = "project.yaml"
APPLICATION = "assistant.app:build"  # of a release that was made before there was the key
_NAME = r"^[a-z][a-z0-9-]*$"


class Project(Settings):
    """Every key is required: `sluice init` writes them."""

    name: str = Field(pattern=_NAME, description="of the project; a label of its metrics")
    organisation: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9-]*$", description="owner of the repository")
    region: str = Field(pattern=r"^[a-z]{2}(-[a-z]+)+-\d$", description="of AWS")
    image: str = Field(pattern=r"^[a-z0-9.-]+(:\d+)?(/[a-z0-9._-]+)+$", description="of the service, without a tag")
    environments: tuple[str, ...] = Field(min_length=1, description="in the order in which they are deployed")
    application: str = Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$", description="module:function that builds it")


class ReleasedProject(Settings):
    """What a release keeps of the file: what it is served by. The other keys say where."""

    application: str = APPLICATION


def load_project(config: Path) -> Project:
    """config/project.yaml of a checkout; all faults are raised at once, with their lines."""
    return load_settings(config / FILE, Project)


def released_application(config: Path) -> str:
    """The application of a release, by its folder of config files."""
    file = config / FILE
    return load_settings(file, ReleasedProject).application if file.is_file() else APPLICATION
