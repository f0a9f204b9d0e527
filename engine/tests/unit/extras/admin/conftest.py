from __future__ import annotations

from unit.retrieval.conftest import *  # noqa: F403 - the servers and fixtures of the stores
