"""guardrails-ai loads without what the serving set leaves out, and says so when it is used."""

from __future__ import annotations

from guardrails.schema import generator

from support.left_out import run_in_image

USED = """
import importlib.util, sluice.guardrails
from guardrails.schema import generator
from guardrails.telemetry import default_otel_collector_tracer_mod as tracer
for use in (lambda: generator.fake.words(2), lambda: tracer.OTLPSpanExporter().export([])):
    try:
        use()
    except ModuleNotFoundError as error:
        print(error.name, "|", error)
try:
    import faker
except ModuleNotFoundError as error:
    print(error)
"""
VALIDATED = """
import sluice.guardrails
from guardrails import AsyncGuard, Guard
from guardrails_ai.ends_with import EndsWith
from guardrails_ai.lowercase import LowerCase
guard = Guard().use(LowerCase(on_fail="fix"), EndsWith(end=".", on_fail="noop"))
outcome = guard.validate("A QUESTION.")
print(outcome.validated_output, outcome.validation_passed)
"""


def test_whoever_uses_what_is_left_out_is_told() -> None:
    fakes, spans, another = run_in_image(USED).splitlines()
    remedy = "is not installed: add its distribution to engine/requirements/serve.in"
    assert fakes == f"faker | faker {remedy}"
    assert spans.endswith(f"otlp.proto.grpc {remedy}")
    assert another == "No module named 'faker'", "for everybody else it is missing as ever"


def test_guards_of_the_library_validate_without_it() -> None:
    assert run_in_image(VALIDATED).split() == ["a", "question.", "True"]


def test_it_is_used_where_it_is_installed() -> None:
    assert len(generator.fake.words(2)) == 2
