"""Python as in the serving image: what engine/requirements/serve.exclude leaves out cannot be imported."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

_ENGINE = Path(__file__).parents[2]
_HIDDEN = """
import sys
from importlib.machinery import PathFinder
from importlib.metadata import PackageNotFoundError, distribution
names = []
for left_out in {left_out!r}:
    try:
        files = distribution(left_out).files or ()
    except PackageNotFoundError:
        continue
    names += [file.parent.as_posix().replace("/", ".") for file in files if file.name == "__init__.py"]
class Present(PathFinder):
    @classmethod
    def find_spec(cls, fullname, path=None, target=None):
        return None if fullname in names else super().find_spec(fullname, path, target)
sys.meta_path = [Present if one is PathFinder else one for one in sys.meta_path]
"""


def left_out() -> list[str]:
    """Distributions."""
    return re.findall(r"^[\w-]+", (_ENGINE / "requirements" / "serve.exclude").read_text(), re.M)


def run_in_image(code: str, *argv: str) -> str:
    """What a process prints."""
    hidden = _HIDDEN.format(left_out=left_out())
    env = {**os.environ, "PYTHONPATH": str(_ENGINE / "src")}
    done = subprocess.run([sys.executable, "-c", hidden + code, *argv], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout
