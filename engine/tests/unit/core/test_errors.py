from __future__ import annotations

from sluice.core.errors import GateFailed, SluiceError, ValidationErrors


def test_the_remedy_stands_on_its_own_line() -> None:
    assert str(SluiceError("a.yaml: bad")) == "a.yaml: bad"
    assert str(SluiceError("a.yaml: bad", remedy="fix it")) == "a.yaml: bad\n  -> fix it"


def test_faults_are_all_shown() -> None:
    assert str(ValidationErrors("a", ["a:1: x", "a:2: y"], remedy="fix")) == "a: 2 faults\n  a:1: x\n  a:2: y\n  -> fix"
    assert ValidationErrors("a", ["a:1: x"]).message.startswith("a: 1 fault\n")


def test_a_gate_has_an_exit_code_of_its_own() -> None:
    assert (SluiceError.exit_code, GateFailed.exit_code) == (1, 3)
