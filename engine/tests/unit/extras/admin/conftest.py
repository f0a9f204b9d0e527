from unit.retrieval.conftest import *  # noqa: F403 - the servers and fixtures of the stores
