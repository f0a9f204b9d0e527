import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from sluice.core.atomic_files import read_json, read_jsonl
from sluice.core.errors import SluiceError, ValidationErrors
from sluice.core.workspace import Workspace
from sluice.extras.prompt_tests.prompt_terminal import print_tests
from sluice.extras.prompt_tests.run_prompt_tests import PromptRun, run_tests, write_tests
from sluice.llm import resilience
from support.serving.fakes import ScriptedChat, provider_entry

CAPITAL = {
    "name": "capital",
    "description": "For tests.",
    "model": "chat",
    "modelParameters": {"temperature": 0.5, "seed": 3},
    "messages": [{"role": "user", "content": "Capital of {{country}}? Else say: {{decline}}"}],
    "variables": [{"name": "country"}, {"name": "decline", "required": False}],
}
SCRIPT: dict[str, str | Exception] = {
    "France": "The Paris!\n",
    "Peru": "Lima",
    "Atlantis": "I do not know.",
    "Spain": '{"capital": "Madrid"}',
    "Nowhere": "",
    "Broken": ConnectionError("gone"),
}


@pytest.fixture
def chat(monkeypatch: pytest.MonkeyPatch) -> ScriptedChat:
    scripted = ScriptedChat(SCRIPT)
    monkeypatch.setattr(resilience, "open_chat", lambda _specs, *, local_url: scripted)  # noqa: ARG005
    return scripted


@pytest.fixture
def checkout(tmp_path: Path) -> Workspace:
    workspace = Workspace(tmp_path)
    provider = provider_entry(name="stub", kind="openai_compatible", base_url="http://127.0.0.1:1/v1")
    embed = {"name": "local", "kind": "local", "model": "embed"}
    write(workspace.config / "providers.yaml", {"chat": [provider], "judge": [], "embed": [embed]})
    service = Path(__file__).parents[5] / "config" / "service.yaml"
    (workspace.config / "service.yaml").write_bytes(service.read_bytes())
    write_prompt(workspace)
    return workspace


def write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content, sort_keys=False))


def write_prompt(workspace: Workspace, *test_data: dict[str, Any], name: str = "capital", **changes: Any) -> None:
    prompt = CAPITAL | {"name": name, "testData": list(test_data)} | changes
    write(workspace.prompts / f"{name}.prompt.yml", prompt)


def write_lines(workspace: Workspace, *cases: dict[str, Any]) -> Path:
    path = workspace.root / "cases.jsonl"
    path.write_text("".join(json.dumps(case) + "\n" for case in cases))
    return path


def case(country: str, id: str = "", **expect: Any) -> dict[str, Any]:
    return {"id": id or country, "vars": {"country": country}, "expect": expect}


def faults(tested: PromptRun) -> dict[str, list[str]]:
    return {record["id"]: record["faults"] for record in tested.records}


def test_test_data_is_tried_and_expected_is_compared_after_normalisation(
    checkout: Workspace, chat: ScriptedChat
) -> None:
    write_prompt(
        checkout, {"country": "France", "expected": "paris"}, {"country": "Peru", "expected": ["Cusco", "Quito"]}
    )
    tested = run_tests(checkout)
    assert faults(tested) == {"capital/1": [], "capital/2": ["expected: 'Cusco' or 'Quito'"]}
    assert tested.passed == 1
    assert chat.calls[0]["messages"] == [("user", "Capital of France? Else say: ")]
    assert (chat.calls[0]["temperature"], chat.calls[0]["seed"]) == (0.5, 3)


@pytest.mark.parametrize(
    ("country", "expect", "fault"),
    [
        ("France", {"contains": ["paris", "Lyon"]}, "contains: not in the answer: 'Lyon'"),
        ("France", {"not_contains": ["Paris"]}, "not_contains: "),
        ("Peru", {"regex": r"\d"}, "regex: no match of"),
        ("Spain", {"json_schema": {"type": "object", "required": ["capital"]}}, None),
        ("Peru", {"json_schema": {"type": "array"}}, "json_schema: not JSON"),
        ("Peru", {"expected": "lima", "contains": ["Lima"]}, None),
        ("Peru", {"expected": "lima", "contains": ["Quito"]}, "contains: "),
        ("Nowhere", {"not_contains": ["Paris"]}, "failed: ProviderError: an empty response (finish reason stop)"),
        ("Broken", {"not_contains": ["Paris"]}, "failed: ConnectionError: gone"),
    ],
)
@pytest.mark.usefixtures("chat")
def test_each_check_passes_and_fails(
    checkout: Workspace, country: str, expect: dict[str, Any], fault: str | None
) -> None:
    tested = run_tests(checkout, lines=write_lines(checkout, case(country, **expect)))
    (found,) = tested.records[0]["faults"] or [None]
    assert tested.passed == (fault is None)
    assert (found or "").startswith(fault or ""), found


@pytest.mark.usefixtures("chat")
def test_a_decline_can_be_expected(checkout: Workspace) -> None:
    decline = {"decline": "i do not know"}
    write_prompt(
        checkout,
        {"country": "Atlantis", **decline, "expected": []},
        {"country": "Peru", **decline, "expected": []},
    )
    assert faults(run_tests(checkout)) == {"capital/1": [], "capital/2": ["expected: the decline 'i do not know'"]}
    write_prompt(checkout, {"country": "Atlantis", "expected": []})
    with pytest.raises(
        ValidationErrors, match="testData 1: it expects a decline, but has no value for the variable 'decline'"
    ):
        run_tests(checkout)


def test_what_was_asked_before_is_not_asked_again_and_replay_does_not_pass_what_it_does_not_find(
    checkout: Workspace, chat: ScriptedChat
) -> None:
    lines = write_lines(checkout, case("France", contains=["Paris"]), case("Peru", expected="Lima"))
    first = run_tests(checkout, lines=lines)
    again = run_tests(checkout, lines=lines)
    assert len(chat.calls) == 2
    assert [record["recorded"] for record in first.records] == [False, False]
    assert [record["recorded"] for record in again.records] == [True, True]
    for before, after in zip(first.records, again.records, strict=True):
        assert after["answer"] == before["answer"]
        assert (after["latency_ms"], after["ttft_ms"]) == (before["latency_ms"], before["ttft_ms"])
    lines = write_lines(checkout, case("Peru", expected="Lima"), case("Atlantis", not_contains=["x"]))
    replayed = run_tests(checkout, lines=lines, replay=True)
    assert (len(chat.calls), replayed.passed, replayed.records[1]["status"]) == (2, 1, "not_evaluated")
    assert replayed.records[1]["faults"][0].startswith("not evaluated: no recorded response of stub")


@pytest.mark.usefixtures("chat")
def test_cases_of_a_file_are_for_every_prompt_and_what_is_not_asked_is_said(checkout: Workspace) -> None:
    write_prompt(checkout, {"country": "Peru", "expected": "Lima"}, {"country": "France"})
    write_prompt(checkout, name="idle")
    lines = write_lines(checkout, case("Peru", contains=["Lima"]))
    assert list(faults(run_tests(checkout, lines=lines))) == ["capital/Peru", "idle/Peru"]
    assert list(faults(run_tests(checkout, ["idle"], lines=lines))) == ["idle/Peru"]
    write_prompt(checkout, {"country": "Peru", "expected": "Lima"}, name="judged", model="judge")
    tested = run_tests(checkout)
    assert list(faults(tested)) == ["capital/1"]
    assert tested.notes == [
        "judged: no provider in the role judge of config/providers.yaml",
        "idle: it has no cases (testData)",
        "capital/2: it checks nothing",
    ]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["capitol"], r"no prompt 'capitol' \(did you mean 'capital'\?\)"),
        (["judged"], "judged: no provider in the role judge"),
        ([], "there is no case that could fail\ncapital: it has no cases"),
    ],
)
def test_nothing_passes_by_silence(checkout: Workspace, chat: ScriptedChat, names: list[str], message: str) -> None:
    if names:
        write_prompt(checkout, {"country": "Peru", "expected": "Lima"}, name="judged", model="judge")
    with pytest.raises(SluiceError, match=message):
        run_tests(checkout, names)
    assert chat.calls == []


def test_all_faults_of_a_file_are_told_with_their_lines_and_nothing_is_asked(
    checkout: Workspace, chat: ScriptedChat
) -> None:
    path = write_lines(
        checkout,
        case("Peru", contains=["Lima"]),
        case("Peru", contains=["Lima"]),
        {"id": "a", "var": {}, "vars": {}},
        case("France", "b", contain=["Paris"]),
        case("France", "c", regex="("),
        case("France", "d", expected=" "),
    )
    path.write_text(path.read_text() + "{\n")
    with pytest.raises(ValidationErrors) as error:
        run_tests(checkout, lines=path)
    told = [fault.removeprefix(f"{path}:") for fault in error.value.faults]
    assert [line.split(":")[0] for line in told] == ["2", "3", "4", "5", "6", "7"]
    assert told[0] == "2: id 'Peru' is already used in line 1"
    assert told[1] == "3: var: unknown key (did you mean 'vars'?)"
    assert told[2] == "4: expect.contain: unknown key (did you mean 'contains'?)"
    assert "no regular expression" in told[3]
    assert told[4] == "6: expect.expected: an answer is blank"
    assert chat.calls == []


@pytest.mark.usefixtures("chat")
def test_the_report_ends_with_the_verdict_and_the_files_say_the_same(
    checkout: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = write_lines(checkout, case("Peru", contains=["Lima"]), case("France", contains=["Lyon"]))
    tested = run_tests(checkout, lines=lines)
    print_tests(tested)
    said = capsys.readouterr().out.splitlines()
    assert said[0].split() == ["prompt", "digest", "passed", "failed", "not", "evaluated", "recorded", "p50", "ms"]
    assert said[1].split()[0] == "capital"
    assert said[1].split()[2:6] == ["1", "1", "0", "0"]
    assert said[2:] == ["capital/France: contains: not in the answer: 'Lyon'", "  answer: 'The Paris!'", "PASSED 1/2"]
    write_tests(tested, tmp_path / "out")
    summary = read_json(tmp_path / "out" / "summary.json")
    assert summary == {"cases": 2, "passed": 1, "answered": 2, "failed": 0, "not_evaluated": 0}
    good, bad = read_jsonl(tmp_path / "out" / "cases.jsonl")
    assert (good["id"], good["faults"], good["answer"]) == ("capital/Peru", [], "Lima")
    assert bad["faults"] == [said[2].partition(": ")[2]]
