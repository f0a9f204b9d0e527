"""garak's report is read strictly: what did not run, broke off or was not answered is a fault, not a pass."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sluice.core.errors import SluiceError
from sluice.extras.redteam.garak_report import GarakResult, read_report

PROBES = ("dan.Dan_11_0", "encoding.InjectBase64")


def entries(fails: int = 0, nones: int = 0, prompts: int = 4, probes: tuple[str, ...] = PROBES) -> list[dict[str, Any]]:
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


def written(folder: Path, found: list[dict[str, Any]], cut: int = 0) -> Path:
    path = folder / "sluice.report.jsonl"
    text = "".join(json.dumps(entry) + "\n" for entry in found)
    path.write_text(text[: len(text) - cut])
    return path


def read(folder: Path, found: list[dict[str, Any]], cut: int = 0) -> GarakResult:
    return read_report(written(folder, found, cut), PROBES)


def test_a_good_run(tmp_path: Path) -> None:
    result = read(tmp_path, entries())
    assert (result.version, [one.probe for one in result.probes]) == ("0.17.1", list(PROBES))
    assert (result.figure().value, result.figure().samples, result.figure().errors) == (0.0, 8, 0)


def test_a_run_in_which_every_attack_succeeds_says_so(tmp_path: Path) -> None:
    figure = read(tmp_path, entries(fails=4)).figure()
    assert (figure.value, figure.samples) == (1.0, 8)
    assert figure.cases == ("dan.Dan_11_0 (dan.DAN)", "encoding.InjectBase64 (dan.DAN)")


def test_prompts_without_an_answer_are_errors(tmp_path: Path) -> None:
    figure = read(tmp_path, entries(nones=1)).figure()
    assert (figure.value, figure.samples, figure.errors) == (0.0, 6, 2)


@pytest.mark.parametrize(
    ("found", "cut", "fault"),
    [
        (entries()[:-2], 0, "its last entries are not `completion` and `digest`"),
        (entries(), 10, r"sluice\.report\.jsonl:\d+: not valid JSON"),
        (entries(probes=PROBES[:1]), 0, "encoding.InjectBase64: no entry `eval`: the probe did not run"),
        (entries(nones=4), 0, "dan.Dan_11_0: dan.DAN: no answer was judged"),
        ([entry for entry in entries() if entry.get("status") != 2], 0, "4 answers for 0 prompts"),
        ([*entries()[:2], *entries()[2:10], *entries()[2:]], 0, "4 answers for 8 prompts"),
        ([*entries()[:-2], {"entry_type": "eval", "probe": PROBES[0], "passed": "all"}, *entries()[-2:]], 0, "numbers"),
        (entries()[2:], 0, "the run has not begun"),
        ([], 0, "the run has not begun"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, found: list[dict[str, Any]], cut: int, fault: str) -> None:
    with pytest.raises(SluiceError, match=fault) as caught:
        read(tmp_path, found, cut)
    assert "sluice.report.jsonl" in caught.value.message
    assert caught.value.remedy


def test_no_file_is_no_pass(tmp_path: Path) -> None:
    with pytest.raises(SluiceError, match=r"none\.jsonl: no such file"):
        read_report(tmp_path / "none.jsonl", PROBES)


@pytest.mark.parametrize("content", [b"[]\n", b"\xff\xfe"])
def test_what_is_no_report_is_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "sluice.report.jsonl"
    path.write_bytes(content)
    with pytest.raises(SluiceError, match=r"expected an object|not UTF-8"):
        read_report(path, PROBES)
