"""The router of a rehearsal with the routes of a type of deployment: copies for the canary, or a group of visitors."""

from __future__ import annotations

import re
from typing import Any

from sluice.rehearsal.traefik_router import TraefikRouter
from sluice.rollout.chat_stream import PATH
from sluice.rollout.local_http import request

_COPIED, _OTHERS = "copied", "others"
# What Traefik's own metrics count for the canary, copies among them; its access log has only what a visitor asked.
_ANSWERED = re.compile(r'^traefik_service_requests_total\{code="(\d+)".*service="canary@file"\} (\S+)$', re.MULTILINE)


class MirroringRouter(TraefikRouter):
    """`percent` of the questions are copied to the canary, and what it answers to a copy goes nowhere."""

    def __init__(self, *, percent: int, **more: Any) -> None:
        self._percent = percent
        self._before: dict[str, float] = {}
        super().__init__(**more)

    def copies(self) -> dict[str, float]:
        """Copies that the canary has answered since `forget`, by status."""
        counted = {code: count - self._before.get(code, 0) for code, count in self._counted().items()}
        return {code: count for code, count in counted.items() if count}

    def forget(self) -> None:
        """Copies are counted from now on: what came before the canary was ready is no fault of its own."""
        self._before = self._counted()

    def _counted(self) -> dict[str, float]:
        text = request(f"http://127.0.0.1:{self._api_port}/metrics", timeout=60).text
        found: dict[str, float] = {}
        for code, count in _ANSWERED.findall(text):
            found[code] = found.get(code, 0) + float(count)
        return found

    def _argv(self) -> list[str]:
        return [*super()._argv(), "--metrics.prometheus=true"]

    def _lead(self, http: dict[str, Any]) -> None:
        visitors = http["routers"]["visitors"]
        mirrors = [{"name": "canary", "percent": self._percent}]
        http["services"][_COPIED] = {"mirroring": {"service": visitors["service"], "mirrors": mirrors}}
        http["routers"][_COPIED] = {**visitors, "rule": f"Method(`POST`) && Path(`{PATH}`)", "service": _COPIED}


class GroupRouter(TraefikRouter):
    """The weights are about the visitors of one `group`, a rule of Traefik; all others go to stable."""

    def __init__(self, *, group: str, **more: Any) -> None:
        self._group = group
        super().__init__(**more)

    def promote(self) -> None:
        self._group = ""

    def _lead(self, http: dict[str, Any]) -> None:
        visitors = http["routers"]["visitors"]
        if self._group:
            http["routers"][_OTHERS] = {**visitors, "service": "stable"}
            visitors["rule"] += f" && {self._group}"  # the longer rule comes first

    def _serves(self, percent: int) -> bool:
        if not super()._serves(percent):
            return False
        others = request(f"http://127.0.0.1:{self._api_port}/api/http/routers/{_OTHERS}@file", timeout=2)
        return (others.status_code == 200) is bool(self._group)
