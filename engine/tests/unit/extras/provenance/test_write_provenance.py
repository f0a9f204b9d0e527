"""The bill of materials and the statements hold to the published schemas, and say what the release is made of.

Judges: the JSON schema of CycloneDX 1.6 in `cyclonedx-python-lib`, and the protocol buffers of Statement v1, SLSA
provenance v1 and test result v0.1 in `in-toto-attestation`, whose JSON parser refuses a field that they do not have.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from google.protobuf.json_format import ParseDict, ParseError
from in_toto_attestation.predicates.provenance.v1.provenance_pb2 import Provenance
from in_toto_attestation.predicates.test_result.v0.test_result_pb2 import TestResult as ResultMessage
from in_toto_attestation.v1.statement import Statement
from in_toto_attestation.v1.statement_pb2 import Statement as StatementMessage

from sluice.core.atomic_files import read_json, write_json
from sluice.core.digests import digest_of_file
from sluice.data.rows import Document, write_document
from sluice.extras.provenance.bill_of_materials import bill_of_materials
from sluice.extras.provenance.statements import PROVENANCE, TEST_RESULT, statements_of
from sluice.extras.provenance.write_provenance import write_provenance
from sluice.release.manifest import load
from unit.extras.provenance.conftest import MadeRelease

PREDICATES = {PROVENANCE: Provenance, TEST_RESULT: ResultMessage}


def faults_of_bill(text: str) -> Any:
    return JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)


def judged(document: dict[str, Any]) -> Statement:
    """A statement as in-toto's own library reads it."""
    statement = Statement.copy_from_pb(ParseDict(document, StatementMessage()))
    statement.validate()
    ParseDict(document["predicate"], PREDICATES[document["predicateType"]]())
    return statement


@pytest.fixture
def bill(made: MadeRelease) -> dict[str, Any]:
    found: dict[str, Any] = read_json(made.folder / "bom.cdx.json")
    return found


@pytest.fixture
def statements(made: MadeRelease) -> dict[str, Any]:
    return {path.name.partition(".")[0]: read_json(path) for path in (made.folder / "statements").iterdir()}


def test_the_bill_holds_to_the_schema(made: MadeRelease, bill: dict[str, Any]) -> None:
    assert faults_of_bill((made.folder / "bom.cdx.json").read_text()) is None
    assert bill["specVersion"] == "1.6"
    assert faults_of_bill(json.dumps(bill | {"components": [{"type": "model", "name": "of no kind"}]})) is not None
    assert faults_of_bill(json.dumps(bill | {"another": 1})) is not None


def test_the_bill_has_every_part_with_its_digest(made: MadeRelease, bill: dict[str, Any]) -> None:
    parts = {one["bom-ref"]: one for one in bill["components"]}
    found = {ref: one["hashes"][0]["content"] for ref, one in parts.items() if "hashes" in one}
    assert made.manifest.files.items() <= found.items()
    assert found["model:chat"] == made.manifest.models["chat"].sha256
    assert parts["model:chat"]["licenses"] == [{"license": {"id": "Apache-2.0"}}]
    assert parts["adapter.gguf"]["type"] == "machine-learning-model"
    card = parts["adapter.gguf"]["modelCard"]
    figures = {one["type"]: float(one["value"]) for one in card["quantitativeAnalysis"]["performanceMetrics"]}
    assert figures == {name: value for name, value in made.manifest.evaluation.metrics.items() if value is not None}
    assert parts["data"]["version"] == made.manifest.data.digest
    assert bill["metadata"]["component"]["version"] == made.manifest.id
    assert bill["metadata"]["component"]["hashes"][0]["content"] == digest_of_file(made.folder / "release.json")
    (whole, adapter) = bill["dependencies"]
    assert set(whole["dependsOn"]) == set(parts)
    assert set(adapter["dependsOn"]) <= set(parts)


def test_every_kind_of_licence_and_part_holds_to_the_schema(made: MadeRelease, tmp_path: Path) -> None:
    """A licence without an SPDX identifier, a choice of licences, an image, a guard model, a model of several files."""
    folder = tmp_path / ".sluice" / "releases" / made.manifest.id
    shutil.copytree(made.folder, folder)
    write_json(tmp_path / "build" / "check" / "report.json", {"digest": made.manifest.data.digest})
    for name, licence in (("one", "CC-BY-4.0"), ("two", "MIT OR Apache-2.0"), ("three", "Terms of the author")):
        document = Document(id=name, title=name, licence=licence, source="written for a test", text="Some words.")
        write_document(tmp_path / "data" / "corpus", document)
    models = made.manifest.models
    manifest = made.manifest.model_copy(
        update={
            "image": "registry.invalid/app@sha256:" + "a" * 64,
            "load_image": "registry.invalid/app-load@sha256:" + "b" * 64,
            "models": {**models, "chat": models["chat"].model_copy(update={"licence": "Llama Community License"})},
        }
    )
    settings = folder / "config" / "models.yaml"
    settings.write_text(settings.read_text() + f"  files: {{vocab.txt: {'c' * 64}}}\n")
    bill = bill_of_materials(folder, manifest)
    assert faults_of_bill(json.dumps(bill)) is None
    parts = {one["bom-ref"]: one for one in bill["components"]}
    assert [one["license"] for one in parts["data"]["licenses"]] == [
        {"id": "CC-BY-4.0"},
        {"name": "MIT OR Apache-2.0"},
        {"name": "Terms of the author"},
    ]
    assert {"name": "sluice:CC-BY-4.0", "value": "1"} in parts["data"]["properties"]
    assert parts["model:chat"]["licenses"] == [{"license": {"name": "Llama Community License"}}]
    assert parts["model:embed"]["components"][0]["name"] == "vocab.txt"
    assert (parts["image"]["type"], parts["image"]["hashes"][0]["content"]) == ("container", "a" * 64)


def test_licences_of_other_data_are_not_claimed(made: MadeRelease, tmp_path: Path) -> None:
    folder = tmp_path / ".sluice" / "releases" / made.manifest.id
    shutil.copytree(made.folder, folder)
    write_json(tmp_path / "build" / "check" / "report.json", {"digest": "of other data"})
    document = Document(id="one", title="One", licence="MIT", source="written for a test", text="Some words.")
    write_document(tmp_path / "data" / "corpus", document)
    (data,) = [one for one in bill_of_materials(folder, made.manifest)["components"] if one["bom-ref"] == "data"]
    assert "licenses" not in data


def test_statements_hold_to_the_published_messages(statements: dict[str, Any]) -> None:
    assert set(statements) == {"training", "evaluation", "gates", "load"}
    for document in statements.values():
        judged(document)
    for broken in (
        statements["gates"] | {"another": 1},
        statements["gates"] | {"subject": []},
        statements["gates"] | {"predicate": {**statements["gates"]["predicate"], "verdict": "fine"}},
        statements["training"] | {"predicate": {"buildDefinition": {"builtOf": "nothing"}}},
    ):
        with pytest.raises((ParseError, ValueError)):
            judged(broken)


def test_subjects_are_files_of_the_release(made: MadeRelease, statements: dict[str, Any]) -> None:
    subjects = {name: [one["name"] for one in document["subject"]] for name, document in statements.items()}
    assert subjects == {
        "training": ["adapter.gguf"],
        "evaluation": ["evaluation/summary.json", "evaluation/cases.jsonl"],
        "gates": ["release.json"],
        "load": ["release.json"],
    }
    for document in statements.values():
        for one in [*document["subject"], *document["predicate"].get("configuration", [])]:
            assert one["digest"] == {"sha256": digest_of_file(made.folder / one["name"])}


def test_predicates_say_what_it_was_made_of_and_what_held(made: MadeRelease, statements: dict[str, Any]) -> None:
    training = statements["training"]["predicate"]["buildDefinition"]
    assert training["externalParameters"] == {"rank": 16}
    assert training["resolvedDependencies"] == [
        {"name": "source", "digest": {"gitCommit": "c" * 40}},
        {"name": "base model", "digest": {"sha256": "1a" * 32}},
        {"name": "training data", "digest": {"sluiceData": "f" * 64}},
    ]
    evaluation = statements["evaluation"]["predicate"]
    made_of = {
        one["name"]: one["digest"].get("sha256") for one in evaluation["buildDefinition"]["resolvedDependencies"]
    }
    assert made.manifest.files.items() <= made_of.items()
    assert evaluation["buildDefinition"]["externalParameters"]["cases"] == 60
    assert evaluation["runDetails"]["metadata"]["finishedOn"] == made.manifest.created
    gates = statements["gates"]["predicate"]
    assert (gates["result"], gates["failedTests"]) == ("PASSED", [])
    assert gates["passedTests"] == [verdict.gate for verdict in made.manifest.gates]
    load = statements["load"]["predicate"]
    assert (load["result"], load["passedTests"]) == ("PASSED", ["step 0 setWeight", "step 1 analysis load"])


def test_a_failure_is_never_a_pass(made: MadeRelease, tmp_path: Path) -> None:
    """A rehearsal that broke off without a failed step, and a gate that refused."""
    folder = tmp_path / made.manifest.id
    shutil.copytree(made.folder, folder)
    record = read_json(folder / "rehearsal.json")
    write_json(folder / "rehearsal.json", record | {"steps": [], "verdict": "failed"})
    refused = made.manifest.gates[0].model_copy(update={"passed": False})
    manifest = made.manifest.model_copy(update={"gates": (refused, *made.manifest.gates[1:])})
    found = statements_of(folder, manifest)
    assert found["load.intoto.json"]["predicate"]["result"] == "FAILED"
    assert found["gates.intoto.json"]["predicate"]["result"] == "FAILED"
    assert found["gates.intoto.json"]["predicate"]["failedTests"] == ["recall_floor"]


def test_what_a_release_does_not_have_is_not_stated(made: MadeRelease) -> None:
    folder = made.workspace.releases / str(made.manifest.parent)
    assert [path.name for path in (folder / "statements").iterdir()] == ["evaluation.intoto.json"]
    assert faults_of_bill((folder / "bom.cdx.json").read_text()) is None


def test_writing_again_says_the_same_and_leaves_nothing_behind(made: MadeRelease, tmp_path: Path) -> None:
    folder = tmp_path / "checkout" / ".sluice" / "releases" / made.manifest.id
    shutil.copytree(made.folder, folder)
    (folder / "statements" / "old.intoto.json").write_text("{}")
    write_provenance(folder)
    for path in sorted(path for path in made.folder.rglob("*") if path.is_file()):
        assert (folder / path.relative_to(made.folder)).read_bytes() == path.read_bytes(), path
    assert not (folder / "statements" / "old.intoto.json").exists()
    assert load(folder).id == made.manifest.id
