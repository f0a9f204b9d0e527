"""The names that a repository made from the template takes for itself, and the file that remembers them.

`.template.yaml` holds the template's own names, the names in use, and the version of the template that has been merged.
`init` and `upgrade` write it; nothing else reads it but `doctor`. Each name has one form to be written in, the others
follow from it.
"""

from __future__ import annotations

import keyword
import re
import sys
from pathlib import Path

import yaml
from pydantic import Field, field_validator

from sluice.core.errors import SluiceError
from sluice.core.files import write_atomic
from sluice.core.settings import Settings, load_settings

RECORD = ".template.yaml"
_WORD = r"[a-z](?:-?[a-z0-9])*"


def _label(value: str) -> str:
    if not re.fullmatch(_WORD, value) or not 3 <= len(value) <= 30:
        raise ValueError(f"{value!r}: 3 to 30 of a-z, 0-9 and single hyphens, beginning with a letter")
    if keyword.iskeyword(value) or value.replace("-", "_") in sys.stdlib_module_names:
        raise ValueError(f"{value!r}: Python has that name for itself")
    return value


class Names(Settings):
    """`name`: letters, digits and single hyphens; package, variables, metrics, Kubernetes objects and the command are
    named after it. `image`: repository of the image, without tag or digest. `environments`: the one that is
    deployed first, and the one that users meet."""

    name: str
    organisation: str
    image: str
    region: str
    environments: tuple[str, str]

    @field_validator("name")
    @classmethod
    def _a_name(cls, value: str) -> str:
        return _label(value)

    @field_validator("environments")
    @classmethod
    def _two_names(cls, value: tuple[str, str]) -> tuple[str, str]:
        if value[0] == value[1]:
            raise ValueError(f"{value[0]!r} twice: they need different names")
        return (_label(value[0]), _label(value[1]))

    @field_validator("organisation")
    @classmethod
    def _an_account(cls, value: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9](?:-?[A-Za-z0-9]){0,38}", value):
            raise ValueError(f"{value!r}: not the name of an account or organisation on GitHub")
        return value

    @field_validator("image")
    @classmethod
    def _a_repository(cls, value: str) -> str:
        if not re.fullmatch(r"[a-z0-9][a-z0-9.-]*\.[a-z]{2,}(?::\d+)?(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)+", value):
            raise ValueError(f"{value!r}: write REGISTRY/PATH in lower case, without tag or digest")
        return value

    @field_validator("region")
    @classmethod
    def _a_region(cls, value: str) -> str:
        if not re.fullmatch(r"[a-z]{2}(?:-[a-z]+)+-\d", value):
            raise ValueError(f"{value!r}: not the name of an AWS region, such as eu-west-1")
        return value

    @property
    def package(self) -> str:
        return self.name.replace("-", "_")

    @property
    def variable(self) -> str:
        """How environment variables begin."""
        return self.package.upper()

    @property
    def class_name(self) -> str:
        return "".join(part.capitalize() for part in self.name.split("-"))

    @property
    def title(self) -> str:
        """How prose writes the name."""
        return " ".join(part.capitalize() for part in self.name.split("-"))

    @property
    def repository(self) -> str:
        """owner/name on GitHub."""
        return f"{self.organisation}/{self.name}"


class Template(Settings):
    """`repository`: owner/name on GitHub, or an address for git; empty where GitHub knows. `version`: what of it is
    in this repository."""

    repository: str = ""
    version: str = Field(pattern=r"^\d+\.\d+\.\d+$")
    names: Names


class Record(Settings):
    """The file `.template.yaml`."""

    template: Template
    names: Names
    starter_data: bool = True


def load_record(root: Path) -> Record:
    """SluiceError when the file is missing or holds what is no name."""
    path = root / RECORD
    if not path.is_file():
        raise SluiceError(
            f"{path}: no such file, so the names of this repository are not known",
            remedy="restore it with git, or take it from the template and put in your names",
        )
    return load_settings(path, Record)


def save_record(root: Path, record: Record) -> None:
    write_atomic(root / RECORD, dump_record(record))


def dump_record(record: Record) -> str:
    head = (
        "# What this repository was made from, and the names it has. `init` and `upgrade` write it, no person does.\n"
    )
    return head + yaml.safe_dump(record.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
