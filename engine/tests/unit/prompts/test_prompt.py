from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from sluice.core.errors import SluiceError, ValidationErrors
from sluice.prompts import Prompt, load_prompt, load_prompts

GOOD: dict[str, Any] = {
    "name": "greet",
    "description": "Greets.",
    "model": "chat",
    "modelParameters": {"temperature": 0, "maxTokens": 20},
    "messages": [{"role": "system", "content": "Greet."}, {"role": "user", "content": "{{name}} says {{ text }}!"}],
    "variables": [{"name": "name"}, {"name": "text", "required": False}],
}


def prompt(**changes: Any) -> Prompt:
    return Prompt.model_validate(GOOD | changes)


def test_digest_is_the_same_for_ever() -> None:
    assert prompt().digest == "4c5878180ac2faee745f8c5f1dfaae31bd651e99b7b070f8130c3a90c337df51"


@pytest.mark.parametrize(
    "changes",
    [
        {"description": "Other words."},
        {"testData": [{"name": "x"}]},
        {"variables": [{"name": "name", "description": "who"}, {"name": "text", "required": False, "type": "string"}]},
        {"modelParameters": {"maxTokens": 20, "temperature": 0.0, "topP": 1, "seed": 1, "stop": []}},
    ],
)
def test_what_the_model_does_not_see_is_not_a_new_version(changes: dict[str, Any]) -> None:
    assert prompt(**changes).digest == prompt().digest


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "embed"},
        {"modelParameters": {"temperature": 0, "maxTokens": 20, "stop": ["\n"]}},
        {"messages": GOOD["messages"][::-1]},
        {"messages": [GOOD["messages"][0], {"role": "user", "content": "{{name}} says {{ text }}! "}]},
        {"variables": [{"name": "name", "type": "number"}, {"name": "text", "required": False}]},
    ],
)
def test_what_the_model_sees_is_a_new_version(changes: dict[str, Any]) -> None:
    assert prompt(**changes).digest != prompt().digest


def test_render_fills_every_variable() -> None:
    assert prompt().render(name="Ada", text=7) == [
        {"role": "system", "content": "Greet."},
        {"role": "user", "content": "Ada says 7!"},
    ]
    assert prompt().render(name="Ada")[1]["content"] == "Ada says !"


@pytest.mark.parametrize("text", ["{{name}}", r"\1 \g<0> {name} %s $name", "{{{{name}}}}"])
def test_values_are_never_expanded_again(text: str) -> None:
    assert prompt().render(name="Ada", text=text)[1]["content"] == f"Ada says {text}!"
    assert prompt().render(name=text, text="x")[1]["content"] == f"{text} says x!"


TYPED = {
    "messages": [{"role": "user", "content": "{{count}} {{share}} {{flag}}"}],
    "variables": [
        {"name": "count", "type": "integer"},
        {"name": "share", "type": "number"},
        {"name": "flag", "type": "boolean"},
    ],
}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"count": True}, "count: True is no integer"),
        ({"share": float("nan")}, "share: nan is no finite number"),
        ({"flag": 1}, "flag: 1 is no boolean"),
        ({"coun": 1}, r"no variable 'coun' \(did you mean 'count'\?\)"),
    ],
)
def test_typed_missing_and_unknown_values(wrong: dict[str, Any], said: str) -> None:
    right = {"count": 3, "share": 0.5, "flag": True}
    assert prompt(**TYPED).render(**right)[0]["content"] == "3 0.5 true"
    with pytest.raises(SluiceError, match="prompt greet: no value for count"):
        prompt(**TYPED).render(share=1, flag=True)
    with pytest.raises(SluiceError, match=f"prompt greet: {said}"):
        prompt(**TYPED).render(**(right | wrong))


@pytest.mark.parametrize("wrong", [{"maxTokens": "20"}, {"temperature": "0"}, {"stop": "END"}])
def test_a_parameter_of_another_type_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        prompt(modelParameters=wrong)


FILE = """\
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


def test_a_good_file(write) -> None:
    prompt = load_prompt(write(FILE), roles=ROLES)
    assert (prompt.name, prompt.model, prompt.parameters.max_tokens) == ("greet", "chat", 20)
    assert [variable.name for variable in prompt.variables] == ["name", "text"]
    text = FILE.replace("name: text", "name: expected").replace("{{text}}", "{{expected}}")
    prompt = load_prompt(write(text.replace("    text: hello\n", "")))
    assert prompt.test_data[0]["expected"] == "Hello Ada", "a variable may be named so too"


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("maxTokens: 20", "maxToken: 20", "6: modelParameters.maxToken: unknown key (did you mean 'maxTokens'?)"),
        ("{{text}}", "{{txet}}", "11: messages.1.content: undeclared variable 'txet' (did you mean 'text'?)"),
        ("says {{text}}", "", "14: variables.1: 'text' is declared but never used"),
        ("  - name: text\n", "  - name: name\n", "14: variables.1: 'name' is declared twice"),
        ("model: chat", "model: chatt", "3: model: no role 'chatt' (did you mean 'chat'?)"),
        ("name: greet", "name: great", "1: name: is 'great', but the file is named 'greet.prompt.yml'"),
        ("    text: hello", "    txt: hello", "18: testData.0.txt: no variable 'txt' (did you mean 'text'?)"),
        ("temperature: 0.5", "temperature: 3", "5: modelParameters.temperature: "),
        ("  - name: Ada", "  - name: 7", "17: testData.0.name: 7 is no string; put it in quotes"),
        ("  - name: Ada\n    text", "  - text", "17: testData.0: no value for name"),
        ("expected: Hello Ada", "expected: 64", "19: testData.0.expected: 64 is no text; put it in quotes"),
        ("role: user", "role: robot", "10: messages.1.role: "),
    ],
)
def test_each_fault_has_its_line_and_the_nearest_name(write, old: str, new: str, fault: str) -> None:
    assert FILE.count(old) >= 1
    path = write(FILE.replace(old, new, 1))
    with pytest.raises(ValidationErrors) as caught:
        load_prompt(path, roles=ROLES)
    assert any(found.startswith(f"{path}:{fault}") for found in caught.value.faults), caught.value.faults


def test_a_folder_reports_the_faults_of_all_files(write, tmp_path: Path) -> None:
    with pytest.raises(ValidationErrors, match=r"no \*\.prompt\.yml file"):
        load_prompts(tmp_path)
    write(FILE)
    write("name: [", "broken")
    write(FILE.replace("{{text}}", "{{txet}}").replace("name: greet", "name: third"), "third")
    (tmp_path / "notes.yml").write_text("not: a prompt")
    with pytest.raises(ValidationErrors) as caught:
        load_prompts(tmp_path, roles=ROLES)
    assert len(caught.value.faults) == 3
    for place in ("broken.prompt.yml:1: not valid YAML", "third.prompt.yml:11: ", "third.prompt.yml:14: "):
        assert place in caught.value.message


def test_two_files_with_one_name(write, tmp_path: Path) -> None:
    write(FILE)
    second = write(FILE, "welcome")
    with pytest.raises(ValidationErrors) as caught:
        load_prompts(tmp_path, roles=ROLES)
    assert caught.value.faults == [
        f"{second}:1: name: is 'greet', but the file is named 'welcome.prompt.yml'",
        f"{second}:1: name: 'greet' is the name of {tmp_path / 'greet.prompt.yml'} too",
    ]


def test_what_is_no_text_file(write, tmp_path: Path) -> None:
    write(FILE).write_bytes(b"name: \xff\n")
    (tmp_path / "folder.prompt.yml").mkdir()
    with pytest.raises(ValidationErrors) as caught:
        load_prompts(tmp_path)
    assert "folder.prompt.yml: is a folder" in caught.value.faults[0]
    assert "greet.prompt.yml: not UTF-8 text" in caught.value.faults[1]
