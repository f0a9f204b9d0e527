"""Extensions of a project, in a copy of src/assistant: what test_guides.py does not follow out of the pages."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sluice.llm.providers import PROVIDERS

METRIC = """
from sluice.extend import Assertion, Metric, Output, Row, metric


@metric
class EndsWell(Metric):
    name = "ends_well"
    what = "the answer ends with a mark that ends sentences"
    rows = "whose answer has five words and more"
    unit = "share"
    aggregate = "share"

    def score(self, row: Row, output: Output) -> Assertion | None:
        if len(output.text.split()) < 5:
            return None
        last = output.text.rstrip()[-1]
        return Assertion(last in ".?!", f"ends with {last!r}")
"""
GUARDRAIL = """
from pydantic import Field

from sluice.extend import Finding, PatternCheck, Settings, check


class Options(Settings):
    word: str = Field(min_length=1)


@check
class Forbidden(PatternCheck):
    name = "forbidden"
    options_model = Options

    def find_in(self, text: str) -> list[Finding]:
        start = text.find(self.options.word)
        return [Finding("forbidden.word", start, start + len(self.options.word))] if start >= 0 else []
"""
LISTED = """
output:
  - {check: forbidden, action: block, options: {word: perhaps}}
"""
PROVIDER = """
from sluice.extend import ChatProvider, ProviderContext, RemoteSpec, provider


class MineSpec(RemoteSpec):
    deployment: str


@provider("mine", MineSpec)
def connect(context: ProviderContext[MineSpec]) -> ChatProvider: ...
"""
SETTINGS = """
from sluice.guardrails.settings import GuardrailSettings
import yaml
output = yaml.safe_load(open({yaml!r}).read())["output"]
usual = {{"timeout_seconds": 60, "input": [{{"check": "length", "action": "block"}}]}}
settings = GuardrailSettings.model_validate(usual | {{"output": output}})
"""


@pytest.fixture
def place(root: Path, tmp_path: Path) -> Path:
    shutil.copytree(root / "src" / "assistant", tmp_path / "assistant", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def write(place: Path, file: str, text: str) -> None:
    target = place / "assistant" / file
    target.parent.mkdir(exist_ok=True)
    target.write_text(text)


def said(root: Path, place: Path, code: str) -> str:
    path = os.pathsep.join([str(place), str(root / "engine" / "src"), str(root / "engine" / "tests")])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_metric_is_measured_and_may_decide(root: Path, place: Path) -> None:
    write(place, "metrics/ends_well.py", METRIC)
    code = (
        "from sluice.evaluation.registry import make_metrics;"
        "print([(m.name, m.needs) for m in make_metrics() if type(m).__module__.startswith('assistant.')])"
    )
    assert said(root, place, code) == str([("ends_well", "answer")])


def test_a_guardrail_is_listed_with_its_options(root: Path, place: Path) -> None:
    write(place, "guardrails/forbidden.py", GUARDRAIL)
    listed = place / "guardrails.yaml"
    listed.write_text(LISTED)
    code = SETTINGS.format(yaml=str(listed)) + (
        "from sluice.guardrails.guards import Guards\nimport asyncio\nguards = Guards(settings)\n"
        "print(asyncio.run(guards.check_output('Or perhaps not.')).reasons)"
    )
    assert said(root, place, code) == "('forbidden.word',)"


def test_a_guardrail_s_options_are_validated_by_the_check(root: Path, place: Path) -> None:
    write(place, "guardrails/forbidden.py", GUARDRAIL)
    listed = place / "guardrails.yaml"
    listed.write_text(LISTED.replace("word:", "wrod:"))
    code = "try:\n" + "".join(f"  {line}\n" for line in SETTINGS.format(yaml=str(listed)).splitlines())
    assert "unknown option (did you mean 'word'?)" in said(root, place, code + "except ValueError as e: print(e)")


def test_a_kind_of_provider_has_keys_of_its_own(root: Path, place: Path) -> None:
    write(place, "providers/mine.py", PROVIDER)
    code = (
        "from sluice.testing.fakes import provider_entry; from sluice.llm.settings import ProviderSpec\n"
        "print(ProviderSpec.model_validate(provider_entry(kind='mine', deployment='d')).deployment)\n"
        "try: ProviderSpec.model_validate(provider_entry(kind='mine'))\n"
        "except ValueError as e: print('kind mine needs deployment' in str(e))\n"
        "try: ProviderSpec.model_validate(provider_entry(kind='mnie'))\n"
        "except ValueError as e: print(str(e).splitlines()[2])"
    )
    shown = said(root, place, code).splitlines()
    assert shown[:2] == ["d", "True"]
    known = ", ".join(sorted([*PROVIDERS, "mine"]))
    assert f"no kind 'mnie' (did you mean 'mine'?); known: {known}" in shown[2]
