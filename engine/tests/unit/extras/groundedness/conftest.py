from __future__ import annotations

from unit.evaluation.conftest import *  # noqa: F403 - rows and outputs
