from unit.evaluation.conftest import *  # noqa: F403 - rows and outputs
