"""Whether anybody listens to LangChain's callbacks.

What LangChain does for them costs an answer 0.3 ms of CPU, listened to or not (engine/docs/decisions/service-speed.md).
"""

from __future__ import annotations

from langchain_core.callbacks import AsyncCallbackManager
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import ensure_config


def heard(config: RunnableConfig | None = None, *, verbose: bool = False) -> bool:
    """Whether a run that begins now has a handler: of its config, of the runs around it, or of the whole process.

    Args:
        config: of the run.
        verbose: of who runs.

    Returns:
        False where nobody would be told.
    """
    callbacks = ensure_config(config).get("callbacks")
    return bool(AsyncCallbackManager.configure(callbacks, verbose=verbose).handlers)
