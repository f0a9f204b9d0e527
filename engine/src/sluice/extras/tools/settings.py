"""config/tools.yaml, and tools.lock.yaml with the reviewed description of each tool: nothing else reaches the model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from sluice.core.errors import SluiceError
from sluice.core.settings import Settings, load_settings

FILE, LOCK = "tools.yaml", "tools.lock.yaml"
KEPT = "tools"  # of `Services.kept`: the agent of the release
REPIN = "read what it says of itself now, and pin it: `sluice tools pin`"


class ToolSettings(Settings):
    """The rights and limits of one tool."""

    effect: Literal["none", "read", "write"]
    approval: Literal["never", "always"] = "never"
    timeout_seconds: float = Field(5, gt=0, le=600)
    calls: int = Field(4, ge=1, description="of one question")
    max_characters: int = Field(4000, ge=1, description="of a result; the rest is cut")

    @model_validator(mode="after")
    def _writes_are_approved(self) -> Self:
        if self.effect == "write" and self.approval != "always":
            raise ValueError("a tool that writes needs `approval: always`")
        return self


class ServerSettings(Settings):
    """An MCP server over streamable HTTP. `key_env` names the variable that holds its bearer token."""

    url: str = Field(pattern=r"^https?://\S+$")
    key_env: str = ""
    timeout_seconds: float = Field(10, gt=0, le=600)
    tools: dict[str, ToolSettings] = Field(min_length=1)


class LoopLimits(Settings):
    """Limits of one question, including what was used before an approval (except dollars)."""

    steps: int = Field(ge=1, description="replies of the model")
    tokens: int = Field(ge=1, description="of all replies and of what the model was told before each")
    dollars: float = Field(gt=0)
    seconds: float = Field(gt=0)


class ApprovalSettings(Settings):
    """`database_env` names the variable with the address of a PostgreSQL database; empty: kept in this process."""

    expire_seconds: float = Field(gt=0)
    says: str = Field(min_length=1, description="the answer where one is needed; fills {actions} and {approval}")
    database_env: str = ""


class ToolsFile(Settings):
    """`use: hosted` offers tools unless the chat model is local. `world`: a context manager beside the functions."""

    use: Literal["never", "hosted", "always"]
    limits: LoopLimits
    approvals: ApprovalSettings
    world: str = ""
    functions: dict[str, ToolSettings] = Field(default_factory=dict)
    servers: dict[str, ServerSettings] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _names_are_different(self) -> Self:
        names = [name for name, _, _ in self.each()]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"two tools have the name {twice[0]!r}")
        return self

    def each(self) -> Iterator[tuple[str, ToolSettings, ServerSettings | None]]:
        """Yield each tool's name, settings, and server (`None` for a function)."""
        yield from ((name, one, None) for name, one in self.functions.items())
        for server in self.servers.values():
            yield from ((name, one, server) for name, one in server.tools.items())


class PinnedTool(Settings):
    """The description of a tool. `digest` also covers the hints of a server."""

    description: str
    arguments: dict[str, Any]
    digest: str = Field(pattern=r"^[0-9a-f]{64}$")


class ToolsLock(Settings):
    tools: dict[str, PinnedTool]


def load_tools(config: Path | None) -> tuple[ToolsFile, dict[str, PinnedTool]] | None:
    if config is None or not (config / FILE).is_file():
        return None
    tools = load_settings(config / FILE, ToolsFile)
    named = {name for name, _, _ in tools.each()}
    lock = load_settings(config / LOCK, ToolsLock).tools if named else {}
    for name in sorted(named ^ lock.keys()):
        what = "has no pin in" if name in named else "is in no other file than"
        raise SluiceError(f"config/{FILE}: the tool {name!r} {what} config/{LOCK}", remedy=REPIN)
    return tools, lock


def tool_pins(config: Path) -> dict[str, str] | None:
    """Return the digest of each tool's description, for release.json; `None` if there are no tools."""
    found = load_tools(config)
    return {name: one.digest for name, one in sorted(found[1].items())} or None if found else None
