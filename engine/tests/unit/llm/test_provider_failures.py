from __future__ import annotations

import email.utils
import time

import pytest

from sluice.llm.provider_failures import RULES, FailureKind, ProviderError, by_status, retry_after


def test_every_failure_has_its_rule() -> None:
    assert set(RULES) == set(FailureKind)


def test_what_is_retried_also_falls_over() -> None:
    assert all(rule.fall_over for rule in RULES.values() if rule.retry)


def test_what_is_the_caller_s_fault_is_final_and_no_mark_against_the_provider() -> None:
    assert RULES[FailureKind.REFUSED] == (False, False, False)


@pytest.mark.parametrize(
    ("status", "failure"),
    [
        (500, FailureKind.SERVER_ERROR),
        (529, FailureKind.SERVER_ERROR),
        (424, FailureKind.SERVER_ERROR),
        (429, FailureKind.RATE_LIMITED),
        (402, FailureKind.FORBIDDEN),
        (410, FailureKind.NOT_FOUND),
        (422, FailureKind.REFUSED),
        (302, FailureKind.GARBAGE),
    ],
)
def test_statuses(status: int, failure: FailureKind) -> None:
    assert by_status(status).failure is failure


def test_aws_throttles_with_400() -> None:
    assert by_status(400, "ThrottlingException").failure is FailureKind.RATE_LIMITED


@pytest.mark.parametrize(
    ("header", "seconds"), [("7", 7), ("0.5", 0.5), ("-3", 0), (None, None), ("", None), ("soon", None)]
)
def test_retry_after_in_seconds(header: str | None, seconds: float | None) -> None:
    assert retry_after(header) == seconds


def test_retry_after_as_a_date() -> None:
    found = retry_after(email.utils.formatdate(time.time() + 60, usegmt=True))
    assert found is not None
    assert 50 < found <= 61
    assert retry_after(email.utils.formatdate(time.time() - 60, usegmt=True)) == 0


def test_an_error_at_a_provider_keeps_all_but_the_name() -> None:
    error = ProviderError(FailureKind.RATE_LIMITED, "HTTP 429", retry_after=3).at("primary")
    assert (error.message, error.failure, error.retry_after) == ("primary: HTTP 429", FailureKind.RATE_LIMITED, 3)
    assert error.at("x", failure=FailureKind.CUT).failure is FailureKind.CUT
