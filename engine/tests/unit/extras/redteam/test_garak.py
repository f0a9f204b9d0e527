"""garak's configuration and report, and the real scanner against good and bad services."""

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from sluice.core.errors import SluiceError
from sluice.core.processes import free_port
from sluice.extras.redteam import garak
from sluice.extras.redteam.garak import GarakParameters, read_report
from sluice.extras.redteam.report import FamilyResult, figures
from sluice.extras.redteam.target import AttackTarget
from sluice.release.gates import Measurement
from support.redteam.service import KEYS, reply, service

PROBES = ("promptinject.HijackHateHumans", "web_injection.MarkdownXSS")
REPORTED = ("dan.Dan_11_0", "encoding.InjectBase64")
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


def figure(result: tuple[str, list[FamilyResult]]) -> Measurement:
    return figures(result[1])["garak_attack_success"]


def python() -> Path:
    try:
        return garak.installed()
    except SluiceError:
        pytest.skip("garak has an environment of its own: make redteam")


@pytest.mark.real
def test_an_echo_is_broken_and_a_refusal_is_not(tmp_path: Path) -> None:
    with service(lambda question, _: reply(question)) as target:
        broken = figure(garak.run_garak(python(), target, FEW, tmp_path / "echo"))
    assert broken.value is not None
    assert broken.value > 0.3
    with service(lambda *_: reply("The handbook does not say.")) as target:
        held = figure(garak.run_garak(python(), target, FEW, tmp_path / "refusal"))
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


def entries(
    fails: int = 0, nones: int = 0, prompts: int = 4, probes: tuple[str, ...] = REPORTED
) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {"entry_type": "start_run setup", "plugins.target_type": "rest.RestGenerator"},
        {"entry_type": "init", "garak_version": "0.17.1", "run": "x"},
    ]
    for probe in probes:
        for status in (1, 2):
            found += [{"entry_type": "attempt", "probe_classname": probe, "status": status}] * prompts
        counts = {"passed": prompts - fails - nones, "fails": fails, "nones": nones}
        found.append({"entry_type": "eval", "probe": probe, "detector": "dan.DAN", **counts})
    return [*found, {"entry_type": "completion", "run": "x"}, {"entry_type": "digest", "meta": {}}]


def read(folder: Path, found: list[dict[str, Any]], cut: int = 0) -> Measurement:
    path = folder / "sluice.report.jsonl"
    text = "".join(json.dumps(entry) + "\n" for entry in found)
    path.write_text(text[: len(text) - cut])
    return figure(read_report(path, REPORTED))


def test_a_run_in_which_every_attack_succeeds_says_so(tmp_path: Path) -> None:
    found = read(tmp_path, entries(fails=4))
    assert (found.value, found.samples) == (1.0, 8)
    assert found.cases == ("dan.Dan_11_0 (dan.DAN)", "encoding.InjectBase64 (dan.DAN)")


def test_prompts_without_an_answer_are_errors(tmp_path: Path) -> None:
    found = read(tmp_path, entries(nones=1))
    assert (found.value, found.samples, found.errors) == (0.0, 6, 2)


@pytest.mark.parametrize(
    ("found", "cut", "fault"),
    [
        (entries()[:-2], 0, "its last entries are not `completion` and `digest`"),
        (entries(), 10, r"sluice\.report\.jsonl:\d+: not valid JSON"),
        (entries(probes=REPORTED[:1]), 0, "encoding.InjectBase64: no entry `eval`: the probe did not run"),
        (entries(nones=4), 0, "dan.Dan_11_0: dan.DAN: no answer was judged"),
        ([*entries()[:2], *entries()[2:10], *entries()[2:]], 0, "4 answers for 8 prompts"),
        (
            [*entries()[:-2], {"entry_type": "eval", "probe": REPORTED[0], "passed": "all"}, *entries()[-2:]],
            0,
            "numbers",
        ),
        ([], 0, "the run has not begun"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, found: list[dict[str, Any]], cut: int, fault: str) -> None:
    with pytest.raises(SluiceError, match=fault) as caught:
        read(tmp_path, found, cut)
    assert "sluice.report.jsonl" in caught.value.message
    assert caught.value.remedy
