from __future__ import annotations

from pathlib import Path

import pytest

from sluice.core.errors import SluiceError, ValidationErrors
from sluice.core.workspace import Workspace
from sluice.llm.settings import PROMPT_ROLES
from sluice.prompts import Prompt, load_prompt, load_prompts
from sluice.prompts.prompt_files import parse_prompts

GOOD = """\
name: greet
description: Greets a person.
model: chat
modelParameters:
  temperature: 0.5
  maxTokens: 20
messages:
  - role: system
    content: You greet {{name}}.
  - role: user
    content: "{{ name }} says {{text}}"
variables:
  - name: name
  - name: text
    required: false
testData:
  - name: Ada
    text: hello
    expected: Hello Ada
"""
ROLES = ("chat", "judge")


@pytest.fixture
def write(tmp_path: Path):
    def write(text: str, name: str = "greet") -> Path:
        path = tmp_path / f"{name}.prompt.yml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def faults(path: Path) -> list[str]:
    with pytest.raises(ValidationErrors) as caught:
        load_prompt(path, roles=ROLES)
    assert caught.value.remedy
    return [fault.removeprefix(f"{path}:") for fault in caught.value.faults]


def names_of(prompt: Prompt) -> set[str]:
    """Variables of a prompt: exactly those that its messages use, or the file has faults."""
    return {variable.name for variable in prompt.variables}


def test_a_good_file(write) -> None:
    prompt = load_prompt(write(GOOD), roles=ROLES)
    assert (prompt.name, prompt.model, prompt.parameters.max_tokens) == ("greet", "chat", 20)
    assert names_of(prompt) == {"name", "text"}


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("description:", "descripton:", "2: descripton: unknown key (did you mean 'description'?)"),
        ("maxTokens: 20", "maxToken: 20", "6: modelParameters.maxToken: unknown key (did you mean 'maxTokens'?)"),
        ("maxTokens: 20", "max_tokens: 20", "6: modelParameters.max_tokens: unknown key (did you mean 'maxTokens'?)"),
        ("required: false", "requird: false", "15: variables.1.requird: unknown key (did you mean 'required'?)"),
        ("{{text}}", "{{txet}}", "11: messages.1.content: undeclared variable 'txet' (did you mean 'text'?)"),
        ("says {{text}}", "", "14: variables.1: 'text' is declared but never used"),
        ("  - name: text\n", "  - name: name\n", "14: variables.1: 'name' is declared twice"),
        ("model: chat", "model: chatt", "3: model: no role 'chatt' (did you mean 'chat'?)"),
        ("name: greet", "name: great", "1: name: is 'great', but the file is named 'greet.prompt.yml'"),
        ("    text: hello", "    txt: hello", "18: testData.0.txt: no variable 'txt' (did you mean 'text'?)"),
        ("temperature: 0.5", "temperature: 3", "5: modelParameters.temperature: "),
        ("temperature: 0.5", "temperature: '0.5'", "5: modelParameters.temperature: "),
        ("maxTokens: 20", "maxTokens: 20.5", "6: modelParameters.maxTokens: "),
        ("required: false", "required: maybe", "15: variables.1.required: "),
        ("required: false", "type: text", "15: variables.1.type: "),
        ("required: false", "type: [string]", "15: variables.1.type: "),
        ("  - name: Ada", "  - name: 7", "17: testData.0.name: 7 is no string; put it in quotes"),
        ("  - name: Ada", "  - name: no", "17: testData.0.name: False is no string; put it in quotes"),
        ("  - name: Ada", "  - name: 2026-01-01", "17: testData.0.name: datetime.date(2026, 1, 1) is no string; put "),
        ("  - name: Ada", "  - name: [Ada]", "17: testData.0.name: ['Ada'] is no string"),
        ("  - name: Ada\n    text", "  - text", "17: testData.0: no value for name"),
        ("expected: Hello Ada", "expected: 64", "19: testData.0.expected: 64 is no text; put it in quotes"),
        ("expected: Hello Ada", "expected: [a, 64]", "19: testData.0.expected: 64 is no text; put it in quotes"),
        ("temperature: 0.5", "temperature: .nan", "5: modelParameters.temperature: "),
        ("role: user", "role: robot", "10: messages.1.role: "),
        ("name: greet", "name: Greet Me", "1: name: "),
    ],
)
def test_each_fault_has_its_line_and_the_nearest_name(write, old: str, new: str, fault: str) -> None:
    assert GOOD.count(old) >= 1
    found = faults(write(GOOD.replace(old, new, 1)))
    assert any(f.startswith(fault) for f in found), found


def test_all_faults_at_once(write) -> None:
    text = GOOD
    for old, new in (
        ("model: chat", "model: chatt"),
        ("maxTokens:", "maxToken:"),
        ("says {{text}}", "says {{txet}}"),
        ("expected:", "expectd:"),
    ):
        text = text.replace(old, new)
    assert [fault.partition(":")[0] for fault in faults(write(text))] == ["6", "3", "11", "14", "19"]


def test_a_wrong_type_hides_no_wrong_name(write) -> None:
    text = GOOD.replace("temperature: 0.5", "temperature: warm").replace("{{text}}", "{{txet}}")
    places = [fault.split(": ")[:2] for fault in faults(write(text))]
    assert places == [
        ["5", "modelParameters.temperature"],
        ["11", "messages.1.content"],
        ["14", "variables.1"],
    ]


def test_values_of_typed_test_data(write) -> None:
    text = GOOD.replace("    required: false", "    type: integer").replace("text: hello", "text: 3")
    assert load_prompt(write(text)).test_data[0]["text"] == 3
    found = faults(write(text.replace("text: 3", "text: '3'")))
    assert found == ["18: testData.0.text: '3' is no integer"]


def test_a_variable_may_be_named_expected(write) -> None:
    text = GOOD.replace("name: text", "name: expected").replace("{{text}}", "{{expected}}")
    prompt = load_prompt(write(text.replace("    text: hello\n", "")))
    assert prompt.test_data[0]["expected"] == "Hello Ada"


def test_faults_of_schema_and_of_variables_when_the_rest_cannot_be_checked(write) -> None:
    found = faults(write("name: greet\nmodel: chat\nmesages: []\nvariables:\n  - {nam: x}\n"))
    assert len(found) == 5  # description, messages, variables.0.name missing; mesages, nam unknown
    assert "3: mesages: unknown key (did you mean 'messages'?)" in found


def test_a_key_that_comes_out_of_a_merge_has_a_line(write) -> None:
    text = GOOD.replace(
        '  - role: user\n    content: "{{ name }} says {{text}}"\n',
        '  - <<: &said {role: user, content: "{{name}} {{txet}}"}\n',
    )
    assert any("messages.1.content: undeclared variable 'txet'" in fault for fault in faults(write(text)))


@pytest.mark.parametrize("text", ["", "[]", "just words", "name: greet"])
def test_what_is_no_prompt(write, text: str) -> None:
    assert faults(write(text))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: [", r"greet\.prompt\.yml:1: not valid YAML"),
        (GOOD + "name: again\n", r":20: not valid YAML: key 'name' stands here twice"),
        (
            GOOD.replace("  maxTokens: 20", "  temperature: 0"),
            r":6: not valid YAML: key 'temperature' stands here twice",
        ),
        (GOOD.replace("  temperature", "\ttemperature"), r":5: not valid YAML: found character"),
        (GOOD + "---\n" + GOOD, r":20: not valid YAML"),
        ("name: &a [*a]", "an alias that contains itself"),
        ("[" * 3000, "nested too deeply"),
        (
            "a: &a {x: 1, y: 2}\n"
            + "".join(f"{n}: &{n} [{', '.join(['*' + p] * 20)}]\n" for p, n in zip("abcdef", "bcdefg", strict=True)),
            "more than 100000 keys",
        ),
        ("name: \0", "not valid YAML"),
    ],
)
def test_broken_yaml(write, text: str, words: str) -> None:
    with pytest.raises(SluiceError, match=words):
        load_prompt(write(text))


def test_without_roles_any_role_is_taken(write) -> None:
    assert load_prompt(write(GOOD.replace("model: chat", "model: other"))).model == "other"


def test_a_folder_reports_the_faults_of_all_files(write, tmp_path: Path) -> None:
    write(GOOD)
    write("name: [", "broken")
    write(GOOD.replace("{{text}}", "{{txet}}").replace("name: greet", "name: third"), "third")
    (tmp_path / "notes.yml").write_text("not: a prompt")
    with pytest.raises(ValidationErrors) as caught:
        load_prompts(tmp_path, roles=ROLES)
    assert len(caught.value.faults) == 3
    for place in ("broken.prompt.yml:1: not valid YAML", "third.prompt.yml:11: ", "third.prompt.yml:14: "):
        assert place in caught.value.message


def test_two_files_with_one_name(write, tmp_path: Path) -> None:
    write(GOOD)
    second = write(GOOD, "welcome")
    with pytest.raises(ValidationErrors) as caught:
        load_prompts(tmp_path, roles=ROLES)
    assert caught.value.faults == [
        f"{second}:1: name: is 'greet', but the file is named 'welcome.prompt.yml'",
        f"{second}:1: name: 'greet' is the name of {tmp_path / 'greet.prompt.yml'} too",
    ]


def test_what_is_no_text_file(write, tmp_path: Path) -> None:
    write(GOOD).write_bytes(b"name: \xff\n")
    (tmp_path / "folder.prompt.yml").mkdir()
    with pytest.raises(ValidationErrors) as caught:
        load_prompts(tmp_path)
    assert "folder.prompt.yml: is a folder" in caught.value.faults[0]
    assert "greet.prompt.yml: not UTF-8 text" in caught.value.faults[1]


def test_files_that_are_at_hand() -> None:
    assert list(parse_prompts("main", {"main:prompts/greet.prompt.yml": GOOD.encode()})) == ["greet"]
    with pytest.raises(ValidationErrors, match=r"main:prompts/greet\.prompt\.yml:3: model: Input should be"):
        parse_prompts("main", {"main:prompts/greet.prompt.yml": GOOD.replace("model: chat", "model: 3").encode()})
    assert parse_prompts("main", {}) == {}


SAME = {
    "white space": GOOD.replace("temperature: 0.5", "temperature:   0.5   ").replace("messages:\n", "messages:\n\n\n"),
    "a comment": "# why\n" + GOOD.replace("  maxTokens: 20", "  maxTokens: 20   # short"),
    "reordered keys": "testData: []\nvariables:\n  - name: name\n  - {required: false, name: text}\n"
    + GOOD.split("variables:")[0]
    .replace("    content: You greet {{name}}.\n", "")
    .replace("  - role: system", "  - content: You greet {{name}}.\n    role: system"),
    "block style": GOOD.replace("You greet {{name}}.", ">-\n      You greet\n      {{name}}."),
    "another description": GOOD.replace("Greets a person.", "Says hello to a person."),
    "other test data": GOOD.replace("expected: Hello Ada", "expected: [Hello, Hi]"),
}
OTHER = {
    "a word": GOOD.replace("You greet", "You welcome"),
    "a line break": GOOD.replace('says {{text}}"', 'says {{text}}\\n"'),
    "a role": GOOD.replace("role: system", "role: user"),
    "the order of messages": GOOD.replace("role: system", "role: x")
    .replace("role: user", "role: system")
    .replace("role: x", "role: user"),
    "the temperature": GOOD.replace("temperature: 0.5", "temperature: 0.6"),
    "the longest answer": GOOD.replace("maxTokens: 20", "maxTokens: 21"),
    "the model": GOOD.replace("model: chat", "model: judge"),
    "a variable that is needed now": GOOD.replace("    required: false\n", ""),
}


@pytest.mark.parametrize("edit", SAME)
def test_an_edit_that_the_model_does_not_see_keeps_the_digest(write, edit: str) -> None:
    assert SAME[edit] != GOOD
    digest = load_prompt(write(GOOD), roles=ROLES).digest
    assert load_prompt(write(SAME[edit]), roles=ROLES).digest == digest


@pytest.mark.parametrize("edit", OTHER)
def test_an_edit_that_the_model_sees_changes_the_digest(write, edit: str) -> None:
    digest = load_prompt(write(GOOD), roles=ROLES).digest
    assert load_prompt(write(OTHER[edit]), roles=ROLES).digest != digest


def test_an_empty_folder_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(ValidationErrors, match=r"no \*\.prompt\.yml file"):
        load_prompts(tmp_path)


def test_the_prompts_of_this_repository(workspace: Workspace) -> None:
    prompts = load_prompts(workspace.prompts, roles=PROMPT_ROLES)
    for name in ("answer", "finetune"):
        assert names_of(prompts[name]) - {"instruction"} == {"question", "passages", "decline", "history"}
    assert names_of(prompts["condense"]) == {"history", "question"}
    assert names_of(prompts["judge"]) == {"rubric", "question", "passages", "expected", "answer"}
    assert {name: prompt.model for name, prompt in prompts.items() if prompt.model != "chat"} == {
        "judge": "judge",
        "generate": "teacher",
    }
    assert names_of(prompts["generate"]) == {"title", "passage", "count"}
    for prompt in prompts.values():
        for values in prompt.test_data:
            prompt.render(**{v.name: values[v.name] for v in prompt.variables if v.name in values})
