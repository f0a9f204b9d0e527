"""Writes engine/tests/golden/sagemaker/pipeline.json: `.venv/bin/python engine/scripts/write_golden_pipeline.py`.

It is what pipelines/sagemaker.py makes of config/sagemaker.yaml, with an account played by moto; the SDK's
environment is made by `make sagemaker` or `make test-sagemaker`. Read its diff before you commit it.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import pytest

from support.aws.sagemaker_runs import GOLDEN, account, masked, run, write_settings


def main() -> int:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch, account(patch):
        write_settings(Path(folder))
        done = run(Path(folder))
    if done.returncode:
        print(done.stderr, file=sys.stderr)
        return 1
    GOLDEN.parent.mkdir(parents=True, exist_ok=True)
    GOLDEN.write_text(json.dumps(masked(done.stdout), indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
