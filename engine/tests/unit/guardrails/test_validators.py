"""Validators that are not ours, from public packages: each does to a text what its `on_fail` says.

guardrails-ai-lowercase 0.1 fails a text with a capital and gives it in small letters; guardrails-ai-ends-with 0.1 fails
one without a certain end and gives it with that end (`main.py` of each).
"""

import asyncio
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sluice.core.errors import SluiceError
from sluice.guardrails.check import CHECKS
from sluice.guardrails.guards import GuardOutcome, Guards
from sluice.guardrails.settings import GuardrailSettings

LOWERCASE, FAILED = "guardrails/lowercase", ("guardrails/lowercase.failed",)


def guarded(*output: dict[str, Any], **stages: Any) -> Guards:
    usual: dict[str, Any] = {"timeout_seconds": 60, "input": [{"check": "length", "action": "block"}]}
    usual["output"] = list(output)
    return Guards(GuardrailSettings.model_validate(usual | stages))


def checked(guards: Guards, text: str) -> GuardOutcome:
    return asyncio.run(guards.check_output(text))


@pytest.mark.parametrize(
    ("on_fail", "outcome"),
    [
        ("exception", GuardOutcome("", True, FAILED)),
        ("refrain", GuardOutcome("", True, FAILED)),
        ("fix", GuardOutcome("five percent", False, FAILED)),
        ("reask", GuardOutcome("", True, FAILED, reask=True)),
        ("noop", GuardOutcome("Five Percent", False, FAILED)),
    ],
)
def test_a_text_that_fails_fares_as_on_fail_says(on_fail: str, outcome: GuardOutcome) -> None:
    guards = guarded({"check": LOWERCASE, "on_fail": on_fail})
    assert checked(guards, "Five Percent") == outcome
    assert checked(guards, "five percent") == GuardOutcome("five percent", False, ())


def test_a_passage_that_fails_is_left_out() -> None:
    dropping = [{"check": LOWERCASE, "on_fail": "filter"}]
    guards = guarded({"check": "secrets", "action": "block"}, passages=dropping)
    assert asyncio.run(guards.check_passage("A Passage")) == GuardOutcome("", True, FAILED)


def test_each_sees_what_the_one_before_has_made_of_it_and_ours_come_first() -> None:
    guards = guarded(
        {"check": LOWERCASE, "on_fail": "fix"},
        {"check": "guardrails/ends_with", "on_fail": "fix", "options": {"end": "!"}},
        {"check": "personal_data", "action": "redact"},
    )
    found = checked(guards, "Write To a@example.org")
    assert found.text == "write to [redacted: email]!"
    assert found.reasons == ("guardrails/ends_with.failed", *FAILED, "personal_data.email")


def test_what_ours_refuse_is_not_shown_to_others() -> None:
    guards = guarded({"check": LOWERCASE, "on_fail": "fix"}, {"check": "secrets", "action": "block"})
    assert checked(guards, "password: " + "hunter2!") == GuardOutcome("", True, ("secrets.password",))


def test_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    guards = guarded({"check": LOWERCASE, "on_fail": "fix"})

    def refuse(*_: object) -> None:
        raise AssertionError("the validator wants to talk to the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert checked(guards, "Five").text == "five"


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"check": "guardrails/no_such", "on_fail": "fix"}, "no validator 'guardrails/no_such' is registered"),
        ({"check": "guardrails/ends_with", "on_fail": "fix"}, "options of guardrails/ends_with: TypeError"),
    ],
)
def test_what_cannot_be_made_is_told_before_the_first_text(entry: dict[str, Any], said: str) -> None:
    with pytest.raises(SluiceError, match=said) as caught:
        guarded(entry)
    assert "config/guardrails.yaml" in caught.value.message


OWN = """
from guardrails.validator_base import FailResult, PassResult, Validator, register_validator
from threading import current_thread

@register_validator(name="acme/tone", data_type="string")
class Tone(Validator):
    def __init__(self, word, on_fail=None):
        super().__init__(on_fail=on_fail)
        self.word = word

    def _validate(self, value, metadata):
        if value == "breaks":
            raise ZeroDivisionError
        if value == "thread":
            return FailResult(error_message="", fix_value=current_thread().name)
        return None if value == "none" else FailResult(error_message="no") if self.word in value else PassResult()
"""


@pytest.fixture
def application(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    from guardrails.validator_base import validators_registry

    folder = tmp_path / "played" / "guardrails"
    folder.mkdir(parents=True)
    for path, text in ((folder.parent / "__init__.py", ""), (folder / "__init__.py", ""), (folder / "tone.py", OWN)):
        path.write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(CHECKS, "packages", (*CHECKS.packages, "played.guardrails"))
    monkeypatch.setattr(CHECKS, "_complete", False)
    yield
    validators_registry.pop("acme/tone", None)
    for name in [name for name in sys.modules if name.partition(".")[0] == "played"]:
        del sys.modules[name]


@pytest.mark.usefixtures("application")
def test_a_validator_of_the_application_is_named_like_any_other() -> None:
    guards = guarded({"check": "acme/tone", "on_fail": "fix", "options": {"word": "bad"}})
    failed, broken = ("acme/tone.failed",), ("guardrails.error",)
    assert checked(guards, "good") == GuardOutcome("good", False, ())
    assert checked(guards, "bad") == GuardOutcome("", True, failed)  # it does not say what would be right
    assert checked(guards, "breaks") == GuardOutcome("", True, broken)
    assert checked(guards, "none") == GuardOutcome("", True, broken)
    assert checked(guards, "thread").text != threading.current_thread().name  # it may block
