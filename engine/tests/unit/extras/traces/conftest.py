from unit.serving.conftest import *  # noqa: F403 - the scripted service
from unit.serving.telemetry.conftest import *  # noqa: F403 - which tells its telemetry
