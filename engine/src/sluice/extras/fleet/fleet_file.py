"""`fleet.yaml`: the projects of a platform team, their owners, the rings of an upgrade, and the rules."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from sluice.core.errors import nearest
from sluice.core.settings import Settings, load_settings

_Repository = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9-]{0,38}/[A-Za-z0-9._-]{1,100}$")]
_Version = Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+$")]
_Word = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$")]


class FleetRules(Settings):
    """The rules for every project; `sluice fleet status` names the projects that break one."""

    oldest_engine: _Version | None = Field(default=None, description="No project may have an older engine.")
    gates: tuple[_Word, ...] = Field(
        default=(),
        description="Gates, and metrics of `comparison`, that may not be looser than the template's; `all` for all.",
    )
    extras: tuple[_Word, ...] = Field(default=(), description="Extras that no project may have switched off.")
    first_ring_percent: int = Field(
        default=10, ge=1, le=100, description="The largest share of the projects that may be in the first ring."
    )


class FleetProject(Settings):
    """A repository that was made from the template."""

    repository: _Repository = Field(description="owner/name on GitHub.")
    owners: tuple[Annotated[str, Field(pattern=r"^@?[A-Za-z0-9][\w./-]*$")], ...] = Field(
        min_length=1, description="People or teams to turn to, such as @example/search."
    )
    ring: _Word = Field(description="When it takes an upgrade: a name of `rings`.")


class FleetFile(Settings):
    """The whole file."""

    template: str = Field(min_length=1, description="owner/name of the template on GitHub, or an address for git.")
    rings: tuple[_Word, ...] = Field(min_length=1, description="The order in which projects take an upgrade.")
    rules: FleetRules = Field(default_factory=FleetRules)
    projects: tuple[FleetProject, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _consistent(self) -> FleetFile:
        rings, names = Counter(self.rings), Counter(one.repository.lower() for one in self.projects)
        twice = [name for name, count in (rings | names).items() if count > 1]
        faults = [f"{name} is there more than once" for name in twice]
        faults += [
            f"{one.repository}: no ring {one.ring!r}{nearest(one.ring, list(rings))}"
            for one in self.projects
            if one.ring not in rings
        ]
        faults += [f"ring {ring!r} has no project" for ring in self.rings if not self.ring(ring)]
        first, most = len(self.ring(self.rings[0])), max(1, len(names) * self.rules.first_ring_percent // 100)
        if len(self.rings) > 1 and first > most:
            share = f"{first} of {len(names)} projects"
            faults.append(f"ring {self.rings[0]!r} has {share}; rules.first_ring_percent allows {most}")
        if faults:
            raise PydanticCustomError("fleet", "{what}", {"what": "; ".join(faults)})
        return self

    def ring(self, name: str) -> list[FleetProject]:
        return [one for one in self.projects if one.ring == name]


def load_fleet(path: Path) -> FleetFile:
    return load_settings(path, FleetFile)


def schemas() -> dict[str, type[Settings]]:
    """Return the models of the JSON Schemas in engine/schemas/, by file name."""
    return {"fleet.schema.json": FleetFile}
