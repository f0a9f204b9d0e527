from __future__ import annotations

from unit.data.conftest import *  # noqa: F403 - data folders that keep the contract
