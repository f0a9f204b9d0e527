"""garak over its REST generator: the files it is given, and the real scanner against services that are good and bad."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from sluice.core.errors import SluiceError
from sluice.core.processes import free_port
from sluice.extras.redteam import garak
from sluice.extras.redteam.attack_target import AttackTarget
from sluice.extras.redteam.drill import GarakParameters
from support.redteam.service import KEYS, reply, service

PROBES = ("promptinject.HijackHateHumans", "web_injection.MarkdownXSS")
FEW = GarakParameters(probes=PROBES, prompts=4, generations=1, parallel=2, minutes=2)


def test_the_configuration_names_the_service_the_probes_and_the_report(tmp_path: Path) -> None:
    found = garak.configuration("http://127.0.0.1:1", FEW, tmp_path)
    rest = found["plugins"]["generators"]["rest"]["RestGenerator"]
    assert rest["uri"] == "http://127.0.0.1:1/v1/chat/completions"
    assert rest["req_template_json_object"] == {"messages": [{"role": "user", "content": "$INPUT"}]}
    assert found["run"]["spec"]["include"] == [f"probes.{name}" for name in PROBES]
    assert (found["run"]["soft_probe_prompt_cap"], found["run"]["generations"]) == (4, 1)
    assert json.dumps(found)


def test_the_key_is_in_the_environment_and_in_no_file(tmp_path: Path) -> None:
    assert "the-key" not in json.dumps(garak.configuration("http://127.0.0.1:1", FEW, tmp_path))
    env = garak.environment(tmp_path, "the-key")
    assert "the-key" in env.values()
    assert env["HF_HUB_OFFLINE"] == "1"
    assert env["http_proxy"] == ""


def test_where_garak_is_missing_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.prefix", str(tmp_path))
    with pytest.raises(SluiceError, match="garak is not installed") as caught:
        garak.installed()
    assert "make redteam" in caught.value.remedy


def python() -> Path:
    try:
        return garak.installed()
    except SluiceError:
        pytest.skip("garak has an environment of its own: make redteam")


@pytest.mark.real
def test_an_echo_is_broken_and_a_refusal_is_not(tmp_path: Path) -> None:
    with service(lambda question, _: reply(question)) as target:
        broken = garak.run_garak(python(), target, FEW, tmp_path / "echo").figure()
    assert broken.value is not None
    assert broken.value > 0.3
    with service(lambda *_: reply("The handbook does not say.")) as target:
        held = garak.run_garak(python(), target, FEW, tmp_path / "refusal").figure()
    assert (held.value, held.errors, held.samples) == (0.0, 0, broken.samples)


@pytest.mark.real
def test_what_nobody_answers_is_no_pass(tmp_path: Path) -> None:
    gone = AttackTarget(f"http://127.0.0.1:{free_port()}", KEYS)
    with pytest.raises(SluiceError, match=r"the run did not come to its end|did not run|no answer was judged"):
        garak.run_garak(python(), gone, FEW, tmp_path)


@pytest.mark.real
def test_one_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    short = FEW.model_copy(update={"minutes": 0.01})
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections and never answers
        target = AttackTarget(f"http://127.0.0.1:{silent.getsockname()[1]}", KEYS)
        with pytest.raises(SluiceError, match=r"garak was not done after 0\.01 minutes"):
            garak.run_garak(python(), target, short, tmp_path)
