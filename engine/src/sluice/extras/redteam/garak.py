"""Runs garak (https://garak.ai) against a service through its REST generator, without a network.

It has an environment of its own, .venv/redteam, with the dependencies of the chosen probes only:
engine/docs/decisions/garak.md. Its exit status says nothing; garak_report.py reads what it wrote.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sluice.core import processes
from sluice.core.atomic_files import write_json
from sluice.core.errors import SluiceError
from sluice.extras.redteam.attack_target import AttackTarget
from sluice.extras.redteam.garak_report import GarakResult, read_report
from sluice.rollout.chat_stream import PATH

if TYPE_CHECKING:
    from sluice.extras.redteam.drill import GarakParameters

_KEY = "SLUICE_GARAK_KEY"
_GENERATOR = "rest.RestGenerator"
_NAME = "sluice"
_SECONDS = 60  # for one answer


def installed() -> Path:
    """The interpreter of garak's environment. SluiceError when it is not there."""
    python = Path(sys.prefix) / "redteam" / "bin" / "python"
    if not python.is_file():
        raise SluiceError(f"{python}: garak is not installed", remedy="run `make redteam`, or add --no-garak")
    return python


def run_garak(python: Path, target: AttackTarget, parameters: GarakParameters, folder: Path) -> GarakResult:
    """Runs the probes and reads the report. SluiceError when it takes too long, or when anything is missing of it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    write_json(folder / "config.json", configuration(target.url, parameters, folder))
    env = environment(folder, target.keys.get(None, ""))
    argv = [str(python), "-m", "garak", "--config", str(folder / "config.json")]
    child = processes.start("garak", argv, state=folder, env=env, cwd=folder)
    try:
        if not processes.wait_until(lambda: not child.running, seconds=parameters.minutes * 60, every=0.5):
            raise SluiceError(
                f"garak was not done after {parameters.minutes:g} minutes; its log ends:\n{child.tail()}",
                remedy="fewer probes or prompts, or more minutes: redteam.garak in pipelines/params.yaml",
            )
    finally:
        child.stop()
    return read_report(folder / f"{_NAME}.report.jsonl", parameters.probes)


def environment(folder: Path, key: str) -> dict[str, str]:
    """No hub, no proxies, and nothing kept outside `folder`: garak writes into the folders of its user."""
    homes = {name: str(folder / name.lower()) for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME")}
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "DO_NOT_TRACK": "1"}
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"), "")
    return {**homes, **offline, **proxies, "NO_PROXY": "127.0.0.1,localhost", "PYTHONPATH": "", _KEY: key}


def configuration(url: str, parameters: GarakParameters, folder: Path) -> dict[str, Any]:
    """garak's config file: the service as a REST endpoint, the probes, and where the report goes."""
    rest = {
        "uri": f"{url}{PATH}",
        "method": "post",
        "key_env_var": _KEY,
        "headers": {"Content-Type": "application/json", "Authorization": "Bearer $KEY"},
        "req_template_json_object": {"messages": [{"role": "user", "content": "$INPUT"}]},
        "response_json": True,
        "response_json_field": "$.choices[0].message.content",
        "request_timeout": _SECONDS,
    }
    return {
        "system": {"parallel_attempts": parameters.parallel, "lite": True},
        "run": {
            "generations": parameters.generations,
            "soft_probe_prompt_cap": parameters.prompts,
            "seed": 1,
            "spec": {"include": [f"probes.{name}" for name in parameters.probes], "exclude": []},
        },
        "plugins": {
            "target_type": _GENERATOR,
            "target_name": _NAME,
            "extended_detectors": False,
            "generators": {"rest": {"RestGenerator": rest}},
        },
        "reporting": {"report_dir": str(folder), "report_prefix": _NAME, "confidence_interval_method": "none"},
    }
