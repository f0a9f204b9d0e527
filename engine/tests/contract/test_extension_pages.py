"""The how-to pages of a project's own extensions, followed in a copy of src/assistant."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHANGE, METRIC = "change-the-application.md", "add-a-metric.md"
SETTINGS = """
from sluice.guardrails.settings import GuardrailSettings
import yaml
output = yaml.safe_load(open({yaml!r}).read())["output"]
settings = GuardrailSettings.model_validate({{"input": [{{"check": "length", "action": "block"}}], "output": output}})
"""


@pytest.fixture
def place(root: Path, tmp_path: Path) -> Path:
    shutil.copytree(root / "src" / "assistant", tmp_path / "assistant", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def blocks(root: Path, page: str, language: str = "python") -> list[str]:
    text = (root / "engine" / "docs" / "how-to" / page).read_text()
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


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
    for block in blocks(root, METRIC):
        (name,) = re.findall(r'name = "(.*)"', block)
        write(place, f"metrics/{name}.py", block)
    code = (
        "from sluice.evaluation.registry import make_metrics;"
        "print([(m.name, m.needs) for m in make_metrics() if type(m).__module__.startswith('assistant.')])"
    )
    assert said(root, place, code) == str([("answer_words", "answer"), ("digits", "answer"), ("ends_well", "answer")])


def test_a_guardrail_is_listed_with_its_options(root: Path, place: Path) -> None:
    guardrail, *_ = blocks(root, CHANGE)
    write(place, "guardrails/forbidden.py", guardrail)
    listed = place / "guardrails.yaml"
    listed.write_text(blocks(root, CHANGE, "yaml")[0])
    code = SETTINGS.format(yaml=str(listed)) + (
        "from sluice.guardrails.guards import Guards\nimport asyncio\nguards = Guards(settings)\n"
        "print(asyncio.run(guards.check_output('Or perhaps not.')).reasons)"
    )
    assert said(root, place, code) == "('forbidden.word',)"


def test_a_guardrail_s_options_are_validated_by_the_check(root: Path, place: Path) -> None:
    write(place, "guardrails/forbidden.py", blocks(root, CHANGE)[0])
    listed = place / "guardrails.yaml"
    listed.write_text(blocks(root, CHANGE, "yaml")[0].replace("word:", "wrod:"))
    code = "try:\n" + "".join(f"  {line}\n" for line in SETTINGS.format(yaml=str(listed)).splitlines())
    assert "unknown option (did you mean 'word'?)" in said(root, place, code + "except ValueError as e: print(e)")


def test_a_kind_of_provider_has_keys_of_its_own(root: Path, place: Path) -> None:
    write(place, "providers/mine.py", blocks(root, CHANGE)[1])
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
    assert "no kind 'mnie' (did you mean 'mine'?); known: anthropic, bedrock" in shown[2]


def test_an_endpoint_is_served(root: Path, place: Path) -> None:
    write(place, "routes.py", blocks(root, CHANGE)[2])
    code = (
        "from support.serving.fakes import StubChain, scripted_bundle; from sluice.serving.api import create_app\n"
        "from sluice.serving.middleware import Traffic; from sluice.serving.routing import load_router\n"
        "from unit.serving.client import Client\n"
        "app = create_app(scripted_bundle(), StubChain(), Traffic(), router=load_router())\n"
        "print(Client(app).get('/v1/topics').json())"
    )
    assert said(root, place, code) == str({"topics": ["canaries"]})
