"""statements/: how a release came about, as in-toto statements v1 with published predicates.

| file | predicate | says |
|---|---|---|
| training.intoto.json | SLSA provenance v1 | of which model, data and parameters the adapter was made |
| evaluation.intoto.json | SLSA provenance v1 | what was asked which cases, scored by what |
| gates.intoto.json | test result v0.1 | which gates passed, by which limits |
| load.intoto.json | test result v0.1 | which steps of the rehearsal held |

They are not signed here: SHA256SUMS has their digests, and release.yml signs that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sluice.core.atomic_files import read_json
from sluice.core.digests import digest_of_file
from sluice.core.errors import SluiceError
from sluice.release.manifest import ADAPTER, JUDGING_CASES, JUDGING_GATES, Manifest
from sluice.release.manifest import FILE as MANIFEST
from sluice.release.staging import CHAMPION_CASES, CHAMPION_SUMMARY
from sluice.release.training import FILE as TRAINING

FOLDER = "statements"
STATEMENT = "https://in-toto.io/Statement/v1"
PROVENANCE = "https://slsa.dev/provenance/v1"
TEST_RESULT = "https://in-toto.io/attestation/test-result/v0.1"
_REHEARSAL = "rehearsal.json"
_RESULTS = ("evaluation/summary.json", "evaluation/cases.jsonl")
_CHAMPION = (f"evaluation/{CHAMPION_SUMMARY}", f"evaluation/{CHAMPION_CASES}")


def statements_of(folder: Path, manifest: Manifest) -> dict[str, dict[str, Any]]:
    """The statements by file name. Of what a release does not have - training, gates, a rehearsal - there is none.

    Args:
        folder: Of the release.
        manifest: What it says.
    """
    found = {}
    if manifest.adapter and (record := _record(folder / TRAINING)):
        found["training"] = _training(folder, manifest, record)
    if summary := _record(folder / _RESULTS[0]):
        found["evaluation"] = _evaluation(folder, manifest, summary)
    if manifest.gates:
        passed = {verdict.gate: verdict.passed for verdict in manifest.gates}
        by = (JUDGING_GATES, JUDGING_CASES, *_RESULTS, *_CHAMPION)
        found["gates"] = _tested(folder, manifest.passed, passed, by)
    if rehearsal := _record(folder / _REHEARSAL):
        found["load"] = _load(folder, rehearsal)
    return {f"{name}.intoto.json": statement for name, statement in found.items()}


def _record(path: Path) -> dict[str, Any]:
    """Empty where it is not there or cannot be read: the report notes that, and nothing is stated of it."""
    try:
        found = read_json(path)
    except SluiceError:
        return {}
    return found if isinstance(found, dict) else {}


def _training(folder: Path, manifest: Manifest, record: Mapping[str, Any]) -> dict[str, Any]:
    inputs = [{"name": "base model", "digest": {"sha256": record["base_sha256"]}}] if "base_sha256" in record else []
    if "data_digest" in record:
        inputs.append({"name": "training data", "digest": {"sluiceData": record["data_digest"]}})
    made = _made("training", record.get("parameters", {}), inputs, manifest, _descriptors(folder, [TRAINING]))
    return _statement(folder, [ADAPTER], PROVENANCE, made)


def _evaluation(folder: Path, manifest: Manifest, summary: Mapping[str, Any]) -> dict[str, Any]:
    asked = {key: summary[key] for key in ("cases", "cases_digest", "scored_by") if key in summary}
    inputs: list[dict[str, Any]] = [
        {"name": f"model {role}", "uri": pin.source, "digest": {"sha256": pin.sha256}}
        for role, pin in manifest.models.items()
    ]
    inputs += [{"name": name, "digest": {"sha256": sha256}} for name, sha256 in manifest.files.items()]
    return _statement(folder, _RESULTS, PROVENANCE, _made("evaluation", asked, inputs, manifest, []))


def _load(folder: Path, record: Mapping[str, Any]) -> dict[str, Any]:
    passed = {
        f"step {number} {one.get('kind')} {one.get('template') or ''}".strip(): one.get("verdict") == "passed"
        for number, one in enumerate(record.get("steps", []))
    }
    return _tested(folder, record.get("verdict") == "passed", passed, (_REHEARSAL, JUDGING_GATES, JUDGING_CASES))


def _made(
    what: str,
    parameters: Mapping[str, Any],
    inputs: list[dict[str, Any]],
    manifest: Manifest,
    byproducts: list[dict[str, Any]],
) -> dict[str, Any]:
    """A provenance predicate. The builder is the release job; who ran it, the signature of SHA256SUMS says."""
    commit = manifest.commit
    if len(commit) == 40:  # not one with changes on top
        inputs = [{"name": "source", "digest": {"gitCommit": commit}}, *inputs]
    return {
        "buildDefinition": {
            "buildType": f"urn:sluice:{what}:v1",
            "externalParameters": dict(parameters),
            "resolvedDependencies": inputs,
        },
        "runDetails": {
            "builder": {"id": "urn:sluice:release-job", "version": {"sluice": version("sluice")}},
            "metadata": {"invocationId": f"{manifest.id}/{what}", "finishedOn": manifest.created},
            "byproducts": byproducts,
        },
    }


def _tested(folder: Path, whole: bool, passed: Mapping[str, bool], by: Iterable[str]) -> dict[str, Any]:
    """A test result about the release; `whole`: whether it passed, which no list of tests alone says."""
    predicate = {
        "result": "PASSED" if whole else "FAILED",
        "configuration": _descriptors(folder, by),
        "passedTests": [name for name, held in passed.items() if held],
        "failedTests": [name for name, held in passed.items() if not held],
    }
    return _statement(folder, [MANIFEST], TEST_RESULT, predicate)


def _statement(folder: Path, subjects: Iterable[str], kind: str, predicate: dict[str, Any]) -> dict[str, Any]:
    subject = _descriptors(folder, subjects)
    return {"_type": STATEMENT, "subject": subject, "predicateType": kind, "predicate": predicate}


def _descriptors(folder: Path, names: Iterable[str]) -> list[dict[str, Any]]:
    """Files of a release that are there, as in-toto describes resources."""
    there = (name for name in names if (folder / name).is_file())
    return [{"name": name, "digest": {"sha256": digest_of_file(folder / name)}} for name in there]
