"""The definition of SageMaker's pipeline as the SDK makes it, in its own environment, against a played account."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from support.aws.sagemaker_runs import ROOT

GOLDEN = ROOT / "engine" / "tests" / "golden" / "sagemaker" / "pipeline.json"
PYTHON = Path(sys.prefix) / "sagemaker" / "bin" / "python"
# The SDK names what it uploads by the second, and the job's script by its content.
_NEVER_THE_SAME = ((r"train-\d{14}/", "train-<time>/"), (r"/code/[0-9a-f]{64}/", "/code/<sha256>/"))


def run(config: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """pipelines/sagemaker.py with the settings in this folder."""
    env = {**os.environ, "PYTHONPATH": str(ROOT / "engine" / "src")}
    argv = [str(PYTHON), "-P", str(ROOT / "pipelines" / "sagemaker.py"), "--config", str(config), *words]
    return subprocess.run(argv, env=env, capture_output=True, text=True, check=False, timeout=240)


def masked(definition: str) -> dict[str, Any]:
    for pattern, word in _NEVER_THE_SAME:
        definition = re.sub(pattern, word, definition)
    found: dict[str, Any] = json.loads(definition)
    return found
