"""`config/project.yaml`: the names of a project, its application, and the template that it was made from.

The engine keeps its own name in every project; the label `project` tells projects apart in a cluster."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import AfterValidator, Field, field_validator

from sluice.core.errors import SluiceError
from sluice.core.settings import Settings, load_settings, read_yaml

FILE = "project.yaml"
PROJECT = f"config/{FILE}"
APPLICATION = "assistant.app:build"
_IMAGE = r"[a-z0-9][a-z0-9.-]*\.[a-z]{2,}(?::\d+)?(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)+"


def _matching(pattern: str, otherwise: str) -> AfterValidator:
    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(f"{value!r}: {otherwise}")
        return value

    return AfterValidator(check)


_Label = Annotated[
    str,
    _matching(r"(?=.{3,30}$)[a-z](?:-?[a-z0-9])*", "3 to 30 of a-z, 0-9 and single hyphens, beginning with a letter"),
]


class TemplateSource(Settings):
    """`repository`: owner/name on GitHub, or an address for git; empty if GitHub knows it."""

    repository: str = ""


class Project(Settings):
    """`name`: the label `project` and the beginning of namespaces, buckets and roles. `image`: repository of the image.
    `about`: what it answers from. `environments`: the first to deploy to, and the one for users. `template`: None in
    the template itself. `adopted`: files of engine/OWNED that are the project's own now; an upgrade merges them."""

    name: _Label
    organisation: Annotated[
        str, _matching(r"[A-Za-z0-9](?:-?[A-Za-z0-9]){0,38}", "not the name of an account or organisation on GitHub")
    ]
    region: Annotated[str, _matching(r"[a-z]{2}(?:-[a-z]+)+-\d", "not the name of an AWS region, such as eu-west-1")]
    image: Annotated[str, _matching(_IMAGE, "write REGISTRY/PATH in lower case, without tag or digest")]
    about: Annotated[str, _matching(r"[^:#{}\n]*", "write it without : # { } and in one line")] = ""
    environments: tuple[_Label, _Label]
    application: str = Field(APPLICATION, pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
    without: tuple[str, ...] = ()
    template: TemplateSource | None = None
    adopted: tuple[str, ...] = ()

    @field_validator("environments")
    @classmethod
    def _two_names(cls, value: tuple[str, str]) -> tuple[str, str]:
        if value[0] == value[1]:
            raise ValueError(f"{value[0]!r} twice: they need different names")
        return value

    @property
    def repository(self) -> str:
        return f"{self.organisation}/{self.name}"


def load_project(config: Path) -> Project:
    path = config / FILE
    if not path.is_file():
        remedy = "restore it with git, or copy it from the template and put in your names"
        raise SluiceError(f"{path}: no such file, so the names of this project are not known", remedy=remedy)
    return load_settings(path, Project)


def released_application(config: Path) -> str:
    """Return the application of a release. Its project.yaml has no other key; older releases have no such file."""
    file = config / FILE
    return str(read_yaml(file)[0]["application"]) if file.is_file() else APPLICATION


def edit_project(text: str, changes: dict[str, Any]) -> str:
    """Set top-level keys in the text of config/project.yaml; comments and the order of keys stay."""
    for key, value in changes.items():
        line = f"{key}: {yaml.safe_dump(value, default_flow_style=True, width=1_000).split(chr(10))[0]}"
        found = re.search(rf"^{re.escape(key)}:[^\n#]*?( +#[^\n]*)?$", text, re.MULTILINE)
        if found:
            comment = (found[1] or "").lstrip()
            line = f"{line:<{len(found[0]) - len(comment) - 1}} {comment}".rstrip()  # comments stay in line
            text = text[: found.start()] + line + text[found.end() :]
        else:
            text = text.rstrip("\n") + f"\n{line}\n"
    try:
        written = yaml.safe_load(text)
    except yaml.YAMLError:
        written = {}
    if wrong := [key for key, value in changes.items() if written.get(key) != value]:
        remedy = f"write `{wrong[0]}: …` in one line first"
        raise SluiceError(f"{PROJECT}: {wrong[0]} is written over several lines", remedy=remedy)
    return text
