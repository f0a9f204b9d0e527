"""Commands, config and imports hold with each part switched off, and nothing of it is loaded.

One process imports the libraries that all parts need, then forks for each part.
"""

import json
import subprocess
import sys

import pytest

from conftest import ROOT
from sluice.core.extras import EXTRAS, HERE

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]

SCRIPT = """
import importlib, io, json, os, sys, tempfile, traceback
from contextlib import redirect_stdout, suppress
from pathlib import Path
from sluice.core import extras as parts

ROOT = Path.cwd()

def helped(command, words):
    yield " ".join(words)
    import click
    context = click.Context(command, info_name=words[-1])
    for parameter in command.get_params(context):  # what its help is made of; to lay that out takes the most time
        parameter.get_help_record(context)
    for name, below in getattr(command, "commands", {}).items():
        yield from helped(below, [*words, name])

def check(off):
    parts._named = lambda root: off
    gone = parts.with_dependents(off)
    from sluice import cli
    with redirect_stdout(io.StringIO()):
        found = list(helped(cli.command(), ["sluice"]))
    from sluice.core.settings import load_settings
    from sluice.evaluation.comparison_policy import load_policy
    from sluice.evaluation.registry import METRICS
    from sluice.guardrails.check import CHECKS
    from sluice.guardrails.settings import GuardrailSettings
    from sluice.llm.model_files import Models
    from sluice.llm.providers import PROVIDERS
    from sluice.llm.settings import load_providers
    from sluice.release.gates import load_gates
    from sluice.serving.settings import ServiceSettings
    import sluice.cluster, sluice.jobs.release_steps, sluice.rehearsal, sluice.serving.server
    config = ROOT / "config"
    named = [*load_policy(config / "gates.yaml").metrics, *load_gates(config / "gates.yaml")]
    guards = load_settings(config / "guardrails.yaml", GuardrailSettings)
    checks = [one.check for one in (*guards.input, *guards.passages, *guards.output)]
    load_settings(config / "service.yaml", ServiceSettings)
    load_providers(config / "providers.yaml", roles=Models.roles())
    assert named and checks and not set(checks) - set(CHECKS)
    assert len(METRICS) and len(PROVIDERS)
    loaded = {name.split(".")[2] for name in sys.modules if name.startswith("sluice.extras.")}
    assert not loaded & gone, loaded & gone
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for stage, files in ((s, f) for n in gone for s, f in parts.EXTRAS[n].stages.items()):
            assert cli._stage_is_off(stage) and all(Path(file).is_file() for file in files), stage
        os.chdir(ROOT)
    libraries = [name for name in sys.modules if not name.startswith(("sluice", "assistant", "_"))]
    return {"commands": found, "checks": sorted(CHECKS), "metrics": sorted(METRICS), "libraries": libraries}

for name in ["", *parts.EXTRAS, ",".join(parts.EXTRAS)]:
    read, write = os.pipe()
    if not (child := os.fork()):
        try:
            os.write(write, json.dumps(check(set(filter(None, name.split(","))))).encode())
            os._exit(0)
        except BaseException:
            os.write(write, json.dumps({"error": traceback.format_exc()}).encode()[:60000])
            os._exit(1)
    os.close(write)
    with os.fdopen(read) as pipe:
        found = json.load(pipe)
    os.waitpid(child, 0)
    for library in found.pop("libraries", ()) if not name else ():
        with suppress(ImportError):  # some make up names
            importlib.import_module(library)
    print(json.dumps([name, found]), flush=True)
"""


def test_what_is_left_when_parts_are_off_holds() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = dict(json.loads(line) for line in done.stdout.splitlines())
    assert {name: one["error"] for name, one in found.items() if "error" in one} == {}
    whole = found.pop("")
    for name in EXTRAS:
        fewer = len(whole["commands"]) - len(found[name]["commands"])
        assert fewer > 0 if (HERE / name / "cli.py").is_file() else fewer >= 0, name
    assert "attack" in whole["checks"]
    assert "attack" not in found["guard"]["checks"]
    assert "language" not in found["language"]["metrics"]
