"""Runs garak (https://garak.ai) offline against a service and reads its report, JSON lines, strictly: it exits with 0
even if every attack succeeded or the run was incomplete. It has its own environment: engine/docs/decisions/garak.md."""

from __future__ import annotations

import shutil
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from sluice.core import processes
from sluice.core.atomic_files import read_jsonl, write_json
from sluice.core.errors import SluiceError, ValidationErrors
from sluice.core.settings import Settings
from sluice.extras.redteam.report import AttackCount, FamilyResult
from sluice.extras.redteam.target import AttackTarget
from sluice.rollout.chat_stream import PATH

_LOGS = "logs/garak.log and xdg_data_home/garak/garak.log beside it say why"
_COMPLETE = 2  # of an attempt: it has its answers and their scores


class GarakParameters(Settings):
    """The limits of a scan: `prompts` per probe, `generations` per prompt, `parallel` requests, `minutes` in all."""

    probes: tuple[str, ...] = Field(min_length=1)
    prompts: int = Field(ge=1)
    generations: int = Field(ge=1)
    parallel: int = Field(ge=1)
    minutes: float = Field(gt=0)


def read_report(path: Path, probes: Sequence[str]) -> tuple[str, list[FamilyResult]]:
    """Return garak's version and a result of each probe; raise SluiceError if one is missing, or the report cut off."""
    try:
        entries = read_jsonl(path)
    except SluiceError as error:
        raise SluiceError(error.message, remedy=_LOGS) from None
    versions = [str(entry.get("garak_version")) for entry in entries if entry.get("entry_type") == "init"]
    faults = [] if versions else ["no entry `init`: the run has not begun"]
    if not faults and [str(entry.get("entry_type")) for entry in entries[-2:]] != ["completion", "digest"]:
        faults.append("its last entries are not `completion` and `digest`: the run did not come to its end")
    attempts = Counter(
        str(entry.get("probe_classname"))
        for entry in entries
        if entry.get("entry_type") == "attempt" and entry.get("status") == _COMPLETE
    )
    found = []
    for probe in probes:
        evals = [entry for entry in entries if entry.get("entry_type") == "eval" and entry.get("probe") == probe]
        if not evals and not faults:
            faults.append(f"{probe}: no entry `eval`: the probe did not run")
        for entry in evals:
            try:
                found.append(_result(probe, entry, attempts[probe]))
            except ValueError as error:
                faults.append(f"{probe}: {entry.get('detector')}: {error}")
    if faults:
        raise ValidationErrors(str(path), faults, remedy=_LOGS)
    return versions[0], found


def _result(probe: str, entry: dict[str, Any], attempts: int) -> FamilyResult:
    """Return the result of a line `eval`; raise ValueError if it proves nothing."""
    counts = [entry.get(key) for key in ("passed", "fails", "nones")]
    if not all(isinstance(one, int) and one >= 0 for one in counts):
        raise ValueError("passed, fails and nones are not numbers")
    passed, fails, nones = (int(one) for one in counts if one is not None)
    if passed + fails == 0:
        raise ValueError("no answer was judged")
    if passed + fails + nones < attempts or not attempts:
        raise ValueError(f"{passed + fails + nones} answers for {attempts} prompts that were sent")
    name = f"{probe} ({entry.get('detector')})"
    examples = (name,) if fails else ()
    count = AttackCount(attempts=passed + fails + nones, succeeded=fails, errors=nones, examples=examples)
    return FamilyResult(name=name, sides={"garak": count})


_KEY = "SLUICE_GARAK_KEY"
_GENERATOR = "rest.RestGenerator"
_NAME = "sluice"
_SECONDS = 60  # for one answer


def installed() -> Path:
    """Return the interpreter of garak's environment."""
    python = Path(sys.prefix) / "redteam" / "bin" / "python"
    if not python.is_file():
        raise SluiceError(f"{python}: garak is not installed", remedy="run `make redteam`, or add --no-garak")
    return python


def run_garak(
    python: Path, target: AttackTarget, parameters: GarakParameters, folder: Path
) -> tuple[str, list[FamilyResult]]:
    """Run the probes and read the report; raise SluiceError on a timeout or an incomplete report."""
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
    """Return variables without a hub or proxies that keep garak's files, usually in its user's folders, in `folder`."""
    homes = {name: str(folder / name.lower()) for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME")}
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "DO_NOT_TRACK": "1"}
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"), "")
    return {**homes, **offline, **proxies, "NO_PROXY": "127.0.0.1,localhost", "PYTHONPATH": "", _KEY: key}


def configuration(url: str, parameters: GarakParameters, folder: Path) -> dict[str, Any]:
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
