from __future__ import annotations

from pathlib import Path

import pytest

from sluice.core.errors import Faults, SluiceError
from sluice.core.workspace import Workspace
from sluice.prompts import load_prompt, load_prompts

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
    with pytest.raises(Faults) as caught:
        load_prompt(path, roles=ROLES)
    assert caught.value.remedy
    return [fault.removeprefix(f"{path}:") for fault in caught.value.faults]


def test_a_good_file(write) -> None:
    prompt = load_prompt(write(GOOD), roles=ROLES)
    assert (prompt.name, prompt.model, prompt.parameters.max_tokens) == ("greet", "chat", 20)
    assert prompt.placeholders() == {"name", "text"}


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
        ("    text: hello", "    txt: hello", "18: testData.0: no variable 'txt' (did you mean 'text'?)"),
        ("temperature: 0.5", "temperature: 3", "5: modelParameters.temperature: "),
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
    ("text", "words"), [("name: [", "not valid YAML"), (GOOD + "name: again\n", "stands here twice")]
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
    with pytest.raises(Faults) as caught:
        load_prompts(tmp_path, roles=ROLES)
    assert len(caught.value.faults) == 3
    for place in ("broken.prompt.yml:1: not valid YAML", "third.prompt.yml:11: ", "third.prompt.yml:14: "):
        assert place in caught.value.message


def test_an_empty_folder_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(Faults, match=r"no \*\.prompt\.yml file"):
        load_prompts(tmp_path)


def test_the_prompts_of_this_repository(workspace: Workspace) -> None:
    prompts = load_prompts(workspace.prompts, roles=ROLES)
    for name in ("answer", "finetune"):
        assert prompts[name].placeholders() == {"question", "passages", "decline"}
