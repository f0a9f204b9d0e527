import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from policy import Repository, faults
from policy.files import LEDGER
from policy.rules import ledger

ROOT = Path(__file__).resolve().parents[3]
CASES = ROOT / "engine" / "tests" / "policy" / "cases"
SETUP = ".github/actions/setup/action.yml"
GOOD = sorted(path.stem for path in (CASES / "good").glob("*.yml"))
BAD: dict[str, dict[str, Any]] = yaml.safe_load((CASES / "bad.yml").read_text())


@cache
def pins() -> dict[str, tuple[str, str]]:
    known = Repository({LEDGER: (ROOT / LEDGER).read_text()})
    return {action: (commit, version) for action, commit, version in ledger(known)}


def pinned(text: str) -> str:
    if absent := {*re.findall(r"([\w./-]+)@(?:PIN|COMMIT)\b", text)} - pins().keys():
        pytest.skip(f"{', '.join(absent)}: only workflows of parts that this project has left out use it")
    text = re.sub(r"([\w./-]+)@PIN\b", lambda found: "{0}@{1[0]}   # {1[1]}".format(found[1], pins()[found[1]]), text)
    return re.sub(r"([\w./-]+)@COMMIT\b", lambda found: f"{found[1]}@{pins()[found[1]][0]}", text)


def good(name: str) -> dict[str, str]:
    """The files of a case, or the workflow itself where there is only one of its kind."""
    if name in GOOD:
        files = yaml.safe_load((CASES / "good" / f"{name}.yml").read_text())["files"]
    elif (workflow := ROOT / (path := f".github/workflows/{name}.yml")).is_file():
        files = {path: re.sub(r"@[0-9a-f]{40} +# v[\d.]+", "@PIN", workflow.read_text())}
    else:
        pytest.skip(f"{name}: of a part that this project has left out")
    return {SETUP: (ROOT / SETUP).read_text(), **files}


def checked(files: dict[str, str]) -> list[str]:
    texts = {path: pinned(text) for path, text in files.items()}
    return faults(Repository({**texts, LEDGER: (ROOT / LEDGER).read_text()}))


@pytest.mark.parametrize("name", GOOD)
def test_a_good_workflow_is_accepted(name: str) -> None:
    assert checked(good(name)) == []


@pytest.mark.parametrize("name", BAD)
def test_a_bad_workflow_is_refused_for_its_own_reason(name: str) -> None:
    seeded = BAD[name]
    files = good(seeded["of"])
    assert seeded["replace"] in files[seeded["file"]], "the edit finds its place"
    files[seeded["file"]] = files[seeded["file"]].replace(seeded["replace"], seeded["by"], 1)
    assert checked(files) == [pinned(fault) for fault in seeded["says"]]
