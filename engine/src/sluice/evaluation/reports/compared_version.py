"""One side of a comparison: its branch or release, and its commit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class ComparedVersion:
    """`name`: base or head, champion or this release. `ref`: the branch or release that was asked for, `commit` what it
    was then; empty for files that are not committed. Digests of what the answers depend on; `cost`: US dollars of the
    whole evaluation, None when it is not known."""

    name: str
    ref: str
    commit: str = ""
    prompts: Mapping[str, str] = field(default_factory=dict)
    data: str = ""
    index: str = ""
    models: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, str] = field(default_factory=dict)
    cost: float | None = None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def title(self) -> str:
        return f"{self.ref} at {self.commit[:12]}" if self.commit else self.ref

    @property
    def parts(self) -> dict[str, str]:
        """Every digest by what it is of."""
        return {
            **{f"prompt {name}": digest for name, digest in self.prompts.items()},
            "data": self.data,
            "index": self.index,
            **{f"model {role}": digest for role, digest in self.models.items()},
            **{f"config/{name}": digest for name, digest in self.config.items()},
        }


def parts_of(base: ComparedVersion, head: ComparedVersion) -> list[tuple[str, str, str]]:
    """(what, base's digest, head's digest), those that differ first."""
    names = list(dict.fromkeys([*base.parts, *head.parts]))
    rows = [(name, base.parts.get(name, ""), head.parts.get(name, "")) for name in names]
    return sorted((row for row in rows if row[1] or row[2]), key=lambda row: row[1] == row[2])
