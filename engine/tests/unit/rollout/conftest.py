import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from sluice.rollout.analysis_templates import TEMPLATES
from starter_files import LOCUSTFILE, ROLLOUT, ROOT

RolloutWriter = Callable[..., Path]


@pytest.fixture
def rollout_file(tmp_path: Path) -> RolloutWriter:
    """Write the repository's Rollout and templates with other steps and arguments."""

    def write(steps: str, **arguments: str) -> Path:
        rollout = yaml.safe_load(ROLLOUT.read_text())
        rollout["spec"]["strategy"]["canary"]["steps"] = yaml.safe_load(steps)
        path = tmp_path / "k8s" / "base" / "rollout.yaml"
        shutil.copytree(LOCUSTFILE.parent, tmp_path / "loadtest", dirs_exist_ok=True)
        documents = {path: rollout}
        for name in TEMPLATES:
            template = yaml.safe_load((ROOT / "engine" / "k8s" / "analysis" / f"{name}.yaml").read_text())
            for arg in template["spec"]["args"]:
                arg["value"] = arguments.get(arg["name"].replace("-", "_"), arg["value"])
            documents[tmp_path / "engine" / "k8s" / "analysis" / f"{name}.yaml"] = template
        for target, document in documents.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(yaml.safe_dump(document, sort_keys=False))
        return path

    return write
