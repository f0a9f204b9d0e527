"""Two small releases of this project in a clone: one is promoted, one is stopped by its canary."""

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(3600)]


@pytest.fixture(scope="module")
def promoted(checkout):
    return checkout.first_release()


def test_a_release_goes_from_the_data_to_the_last_canary_step_and_is_live(checkout, promoted):
    assert promoted.verdict == "promoted", promoted.output
    assert promoted.status == 0
    assert promoted.rehearsed
    assert checkout.live == promoted.release


def test_a_canary_that_answers_with_errors_is_stopped_and_what_was_live_stays(checkout, promoted):
    checkout.change_what_serves()
    stopped = checkout.release(fault="error=0.5")
    assert stopped.verdict == "stopped by the canary", stopped.output
    assert stopped.status == 1
    assert stopped.release != promoted.release == checkout.live
    assert not checkout.left()
