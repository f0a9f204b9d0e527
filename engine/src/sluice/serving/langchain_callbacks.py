"""What LangChain does for its callbacks costs an answer 0.7 ms of CPU, listened to or not
(engine/docs/decisions/service-speed.md)."""

from __future__ import annotations

from langchain_core.callbacks import AsyncCallbackManager
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import ensure_config


def heard(config: RunnableConfig | None = None, *, verbose: bool = False) -> bool:
    """Whether a run that begins now has a handler: of its config, of the runs around it, or of the whole process."""
    return bool(AsyncCallbackManager.configure(ensure_config(config).get("callbacks"), verbose=verbose).handlers)
