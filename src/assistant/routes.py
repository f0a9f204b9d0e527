"""Endpoints of this application beside the engine's. A route needs an API key, unless it says `openapi_extra=OPEN`."""

from __future__ import annotations

from sluice.extend import APIRouter

router = APIRouter()
