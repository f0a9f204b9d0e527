"""`sluice release recompute` finds changes although the release was closed again with matching digests."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sluice.core.atomic_files import read_json, read_jsonl, write_json, write_jsonl
from sluice.core.digests import digest_of_file
from sluice.core.errors import SluiceError
from sluice.extras.provenance import recompute as recomputing
from sluice.extras.provenance.checksums import check_checksums, write_checksums
from sluice.extras.provenance.recompute import recompute
from sluice.release.manifest import identified, load_judgement
from sluice.release.verdict import judged
from sluice.release.verification import VerificationResult, check_folder
from unit.extras.provenance.conftest import MadeRelease

Forge = Callable[[Callable[[Path], None]], dict[str, VerificationResult]]


def closed_again(folder: Path) -> Path:
    document = read_json(folder / "release.json")
    document["files"] = {name: digest_of_file(folder / name) for name in document["files"]}
    manifest = identified({key: value for key, value in document.items() if key != "id"})
    (folder / "release.json").write_bytes(manifest.to_bytes())
    judgement = {**read_json(folder / "judgement.json"), "release": manifest.id}
    (folder / "judgement.json").write_bytes(judged({**judgement, "digest": "0" * 64}).to_bytes())
    folder = folder.rename(folder.with_name(manifest.id))
    write_checksums(folder)
    return folder


@pytest.fixture
def forge(made: MadeRelease, tmp_path: Path) -> Forge:
    def change(by: Callable[[Path], None]) -> dict[str, VerificationResult]:
        folder = tmp_path / "copy"
        shutil.copytree(made.folder, folder)
        by(folder)
        folder = closed_again(folder)
        assert [check.result for check in (check_folder(folder), check_checksums(folder))] == ["verified", "verified"]
        found = {result.what: result for result in recompute(made.workspace, folder)}
        shutil.rmtree(folder)
        return found

    return change


def in_row(name: str, number: int, by: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        rows = read_jsonl(folder / name)
        by(rows[number])
        write_jsonl(folder / name, rows)

    return change


def in_json(name: str, *keys: Any, value: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        document = read_json(folder / name)
        holder = document
        for key in keys[:-1]:
            holder = holder[key]
        holder[keys[-1]] = value
        write_json(folder / name, document)

    return change


def another_limit(folder: Path) -> None:
    path = folder / "judging" / "gates.yaml"
    path.write_text(path.read_text().replace("limit: 0.8", "limit: 0.7", 1))


def test_a_whole_release_follows_from_its_answers(made: MadeRelease) -> None:
    found = {result.what: result for result in recompute(made.workspace, made.folder)}
    assert {what: result.result for what, result in found.items()} == dict.fromkeys(
        ("rows", "scores", "figures", "verdicts"), "verified"
    )
    assert found["rows"].reason == "60 rows"
    assert found["scores"].reason == "60 of 60 answers"
    assert found["verdicts"].reason == f"{len(load_judgement(made.folder).gates)} verdicts"
    assert {verdict.passed for verdict in load_judgement(made.folder).gates} == {True}


@pytest.mark.parametrize(
    ("change", "what", "says"),
    [
        (
            in_row("evaluation/cases.jsonl", 3, lambda case: case.update(answer="quite another")),
            "scores",
            "evaluation/cases.jsonl: row a3, trial 0: f1 is",
        ),
        (
            in_row("evaluation/cases.jsonl", 5, lambda case: case.update(expected=["anything"])),
            "rows",
            "evaluation/cases.jsonl: row a5: expected is not that of judging/eval.jsonl",
        ),
        (
            in_row("judging/eval.jsonl", 9, lambda row: row.update(doc_ids=["d1"])),
            "rows",
            "judgement.json: cases_digest is",
        ),
        (
            in_json("evaluation/summary.json", "metrics", "f1", "value", value=0.99),
            "figures",
            "evaluation/summary.json: f1: value is 0.99, recomputed",
        ),
        (
            in_json("judgement.json", "evaluation", "metrics", "f1", value=0.99),
            "figures",
            "judgement.json: f1 is 0.99, evaluation/summary.json has",
        ),
        (another_limit, "verdicts", "judgement.json: gate recall_floor: limit is 0.8, recomputed 0.7"),
        (
            in_json("judgement.json", "gates", 0, "gate", value="another_floor"),
            "verdicts",
            "gate another_floor: not decided by judging/gates.yaml; judgement.json: gate recall_floor: missing",
        ),
        (
            in_row("evaluation/champion_cases.jsonl", 2, lambda case: case["scores"].update(f1=0.5)),
            "verdicts",
            "judgement.json: gate comparison_f1: reference is",
        ),
    ],
)
def test_what_does_not_follow_is_named(forge: Forge, change: Callable[[Path], None], what: str, says: str) -> None:
    found = forge(change)[what]
    assert found.result == "failed"
    assert says in found.reason


def test_a_difference_that_other_code_explains_is_not_verified_and_what_agrees_is(
    forge: Forge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recomputing, "metrics_digest", lambda: "metrics of another version")
    found = forge(in_row("evaluation/cases.jsonl", 3, lambda case: case["scores"].update(tokens=1.0)))
    assert (found["rows"].result, found["verdicts"].result) == ("verified", "verified")
    for what in ("scores", "figures"):
        assert found[what].result == "not verified"
        assert found[what].reason.startswith("scored by other code or libraries than are here: evaluation/")


def test_scores_that_need_a_model_which_is_not_here_are_not_verified(forge: Forge) -> None:
    def change(case: dict[str, Any]) -> None:
        case["scores"]["answer_similarity"] = 0.9

    found = forge(in_row("evaluation/cases.jsonl", 3, change))["scores by models"]
    assert (found.result, found.reason.partition(":")[0]) == ("not verified", "answer_similarity")


@pytest.mark.parametrize("key", ["answer", "errors"])
def test_records_of_another_form_are_an_error_for_people(forge: Forge, key: str) -> None:
    with pytest.raises(SluiceError, match="not the records of an evaluation"):
        forge(in_row("evaluation/cases.jsonl", 3, lambda case: case.pop(key)))


def test_a_first_release_has_no_verdicts_to_recompute(made: MadeRelease) -> None:
    folder = made.workspace.releases / str(load_judgement(made.folder).parent)
    found = {result.what: result for result in recompute(made.workspace, folder)}
    assert found["verdicts"].result == "not verified"
    assert (found["scores"].result, found["figures"].result) == ("verified", "verified")
    assert load_judgement(folder).gates == ()


def test_the_command_fails_and_names_it(
    made: MadeRelease, sluice: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(made.workspace.root)
    status, out, err = sluice("release", "recompute", made.manifest.id)
    assert (status, err) == (0, "")
    assert out.splitlines()[:2] == ["rows: verified: 60 rows", "scores: verified: 60 of 60 answers"]
    cases = made.folder / "evaluation" / "cases.jsonl"
    before = cases.read_bytes()
    in_row("evaluation/cases.jsonl", 0, lambda case: case["scores"].update(f1=0.123))(made.folder)
    status, out, err = sluice("release", "recompute", made.manifest.id)
    cases.write_bytes(before)
    assert (status, "row a0, trial 0: f1 is 0.123" in err) == (1, True)
    assert "figures: failed: evaluation/summary.json: f1: value is" in out
