"""config/hosted.yaml: what a pull request may ask of hosted models. Only the file of main counts."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from sluice.core.settings import Settings, load_settings

FILE = "hosted.yaml"


class HostedLimits(Settings):
    """Numbers without defaults: each is written in the file."""

    rounds: int = Field(ge=1, le=20, description="times that the requests of one run of ci are answered")
    requests: int = Field(ge=1, description="requests of a file")
    request_bytes: int = Field(ge=1, description="messages of a request, as UTF-8")
    output_tokens: int = Field(ge=1, description="longest answer that a request may ask for")
    tokens: int = Field(ge=1, description="tokens of all requests of a file, at most")
    dollars_per_change: float = Field(ge=0, description="US dollars a day (UTC) for one branch")
    dollars_per_day: float = Field(ge=0, description="US dollars a day (UTC) for all branches together")
    authors: Literal["write", "all"] = Field(description="whose requests are answered unasked")


def load_limits(config: Path) -> HostedLimits:
    return load_settings(config / FILE, HostedLimits)
