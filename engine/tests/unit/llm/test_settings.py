from pathlib import Path
from typing import Any

import pytest
import yaml

from sluice.core.errors import SluiceError, ValidationErrors
from sluice.llm.chat import AnswerConstraint, Usage
from sluice.llm.providers import PROVIDERS, ProviderContext
from sluice.llm.settings import KEYS, Prices, ProviderSpec, load_providers, take_keys
from support.serving.fakes import provider_entry

ROOT = Path(__file__).parents[4]
ROLES = ["chat", "embed"]
EMBED = [{"name": "local", "kind": "local", "model": "embed"}]


def write(path: Path, *chat: dict[str, Any], **roles: Any) -> Path:
    path.write_text(yaml.safe_dump({"chat": list(chat), "judge": [], "embed": EMBED, **roles}))
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "providers.yaml"


def fault(path: Path) -> str:
    with pytest.raises(ValidationErrors) as caught:
        load_providers(path, roles=ROLES)
    return str(caught.value)


def test_the_file_of_the_repository_is_the_local_model_alone() -> None:
    providers = load_providers(ROOT / "config/providers.yaml", roles=ROLES)
    assert [(spec.name, spec.kind, spec.model) for spec in providers.chat] == [("local", "local", "chat")]
    assert (providers.judge, providers.embed[0].model) == ((), "embed")
    assert providers.chat[0].breaker.failures <= 20


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"kind": "openai", "key_env": "not a name"}, "key_env"),
        ({"kind": "openai", "api_key": "x"}, "unknown key"),
        ({"kind": "openai"}, "kind openai needs key_env"),
        ({"kind": "langchain"}, "kind langchain needs integration"),
        ({"kind": "openai_compatible"}, "needs base_url or base_url_env"),
        ({"kind": "openai_compatible", "base_url": "http://a", "base_url_env": "A"}, "exclude each other"),
        ({"region": "eu-west-1"}, "kind local has no region"),
        ({"breaker": {"window": 5, "failures": 6, "open_seconds": 1}}, "can never be reached"),
        ({"omit": ["temprature"]}, "Input should be"),
        ({"model": "chatt"}, "no role 'chatt' in models.yaml (did you mean 'chat'?)"),
        ({"kind": "openai_compatible", "base_url": "ftp://x"}, "should match pattern"),
    ],
)
def test_what_does_not_fit_the_kind(file: Path, changes: dict[str, Any], what: str) -> None:
    assert what in fault(write(file, provider_entry(**changes)))


def test_two_providers_of_a_role_have_different_names(file: Path) -> None:
    assert "chat: two providers are named 'local'" in fault(write(file, provider_entry(), provider_entry()))


def test_entries_may_share_their_numbers(file: Path) -> None:
    shared = yaml.safe_dump(provider_entry(), default_flow_style=True, width=10_000).strip()
    file.write_text(
        f"chat:\n- &usual {shared}\n"
        "- {<<: *usual, name: second, kind: openai_compatible, base_url: 'http://127.0.0.1:1/v1', model: m}\n"
        "judge: []\nembed: [{name: local, kind: local, model: embed}]\n"
    )
    providers = load_providers(file, roles=ROLES)
    assert [spec.name for spec in providers.chat] == ["local", "second"]
    assert providers.chat[0].timeouts == providers.chat[1].timeouts


def test_the_entries_of_the_guide_are_valid() -> None:
    """Every YAML block of the page that is a list of providers; each kind of the engine has one."""
    page = (ROOT / "docs/hosted-models.md").read_text()
    blocks = [yaml.safe_load(block.split("```")[0]) for block in page.split("```yaml\n")[1:]]
    usual = provider_entry()
    numbers = {key: usual[key] for key in ("timeouts", "retries", "max_concurrency", "breaker", "prices")}
    entries = [entry for block in blocks for entry in (block if isinstance(block, list) else block["chat"])]
    ours = {name for name, kind in PROVIDERS.items() if kind.connect.__module__.startswith("sluice.")}
    assert {ProviderSpec.model_validate({**numbers, **entry}).kind for entry in entries} >= ours


def test_prices_are_for_a_million_tokens() -> None:
    assert Prices(input=3, output=15).cost(Usage(2000, 500)) == pytest.approx(0.006 + 0.0075)
    assert Prices(input=3, output=15).cost(None) is None


def test_keys_come_out_of_one_secret_and_it_is_gone(capfd: pytest.CaptureFixture[str]) -> None:
    there = {KEYS: "FIRST_KEY=a=b\r\n\n  SECOND_KEY = c \n", "SECOND_KEY": "of its own", "GITHUB_ACTIONS": "true"}
    take_keys(there)
    assert there == {"FIRST_KEY": "a=b", "SECOND_KEY": "of its own", "GITHUB_ACTIONS": "true"}
    assert capfd.readouterr().err.splitlines() == ["::add-mask::a=b", "::add-mask::c"]


@pytest.mark.parametrize("line", ["sk-hidden", "NAME=", "A B=hidden"])
def test_a_line_that_is_no_key_is_told_by_its_number(line: str) -> None:
    with pytest.raises(SluiceError, match="PROVIDER_KEYS: line 2 is not NAME=value") as caught:
        take_keys({KEYS: f"GOOD=a\n{line}"})
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    ("entry", "grammar"),
    [({}, 'root ::= "a"'), ({"kind": "openai_compatible", "base_url": "http://localhost/v1"}, None)],
    ids=["local", "other"],
)
def test_a_grammar_is_for_llama_cpp_alone(entry: dict[str, str], grammar: str | None) -> None:
    spec = ProviderSpec.model_validate(provider_entry(**entry))
    values = ProviderContext(spec).parameters(
        AnswerConstraint.model_validate({"grammar": 'root ::= "a"', "maxTokens": 9})
    )
    assert (values.get("grammar"), values["max_tokens"]) == (grammar, 9)
