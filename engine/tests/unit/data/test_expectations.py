from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sluice.data.contract import check
from sluice.data.expectations import faults_of
from sluice.data.rows import ExpectedBehaviour, Row, load_rows, scan_rows, write_rows


@pytest.mark.parametrize(
    "expect",
    [
        {"contains": ["64"], "not_contains": ["65"]},
        {"regex": r"\b\d+\b"},
        {"json_schema": {"type": "object"}},
        {"json_schema": {"$schema": "http://json-schema.org/draft-07/schema#", "type": "array"}},
        {"rubric": "Polite."},
        {"answer_key": [["rollback", "roll back"], ["5 %"]]},
    ],
)
def test_sound_checks_have_no_faults(expect: dict[str, Any]) -> None:
    assert faults_of(ExpectedBehaviour.model_validate(expect)) == []


@pytest.mark.parametrize(
    ("expect", "faults"),
    [
        ({}, ["expect: holds no check; leave it out"]),
        ({"contains": ["64", " "]}, ["expect.contains: a text is blank"]),
        ({"not_contains": [""]}, ["expect.not_contains: a text is blank"]),
        ({"regex": ""}, ["expect.regex: is empty and would match every answer"]),
        ({"regex": "(64"}, ["expect.regex: '(64' is no regular expression: missing ) at position 3"]),
        ({"json_schema": {}}, ["expect.json_schema: is empty and would accept every JSON"]),
        (
            {"json_schema": {"type": "objekt"}},
            ["expect.json_schema: is no JSON Schema: $.type: 'objekt' is not valid under any of the given schemas"],
        ),
        ({"rubric": " "}, ["expect.rubric: is blank"]),
        ({"answer_key": [["5 %"], []]}, ["expect.answer_key: a fact has no text, or a blank one"]),
        ({"answer_key": [["5 %", " "]]}, ["expect.answer_key: a fact has no text, or a blank one"]),
        (
            {"contains": ["Six Tokens"], "not_contains": ["tokens"], "regex": "["},
            [
                "expect: 'Six Tokens' is both wanted (contains) and not wanted (not_contains)",
                "expect.regex: '[' is no regular expression: unterminated character set at position 1",
            ],
        ),
    ],
)
def test_what_no_answer_could_be_checked_by_is_a_fault(expect: dict[str, Any], faults: list[str]) -> None:
    assert faults_of(ExpectedBehaviour.model_validate(expect)) == faults


def test_the_contract_names_the_line(folder: Path, add_row: Any) -> None:
    add_row("eval.jsonl", id="e3", expect={"regex": "("})
    add_row("eval.jsonl", id="e4", question="What is a weir?", expect={"contain": ["x"]})
    add_row("eval.jsonl", id="e5", question="Who built the quay?", expect={"contains": ["first.last@" + "company.org"]})
    told = [str(fault).replace(f"{folder}/", "") for fault in check(folder).faults]
    assert told[0].startswith("eval.jsonl:3: expect.regex: '(' is no regular expression")
    assert told[1] == "eval.jsonl:4: unknown key 'expect.contain' (did you mean 'expect.contains'?)"
    assert told[2].startswith("eval.jsonl:5: ")
    assert "e-mail" in told[2]
    assert len(told) == 3


def test_expect_survives_the_file_and_rows_without_it_stay_as_they_were(tmp_path: Path) -> None:
    plain = Row(id="a", question="A?", answers=("x",), doc_ids=("d",))
    asking = plain.model_copy(
        update={"id": "b", "expect": ExpectedBehaviour(json_schema={"const": None}, contains=("x",))}
    )
    write_rows(tmp_path / "rows.jsonl", [plain, asking])
    first, second = (tmp_path / "rows.jsonl").read_text().splitlines()
    assert first == '{"id": "a", "question": "A?", "answers": ["x"], "doc_ids": ["d"], "tags": []}'
    assert second.endswith('"expect": {"contains": ["x"], "json_schema": {"const": null}}}')
    assert load_rows(tmp_path / "rows.jsonl") == [plain, asking]


def test_expect_of_a_wrong_type_is_a_fault_of_its_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"id": "a", "question": "A?", "answers": [], "doc_ids": [], "expect": {"contains": "x"}}\n')
    rows, faults = scan_rows(path)
    assert rows == []
    assert "expect.contains: Input should be a valid array, found 'x'" in str(faults[0])
