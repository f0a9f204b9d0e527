"""The section `sweep` of pipelines/params.yaml: what is wrong in it is named with its line."""

from __future__ import annotations

import pytest

from sluice.core.errors import ValidationErrors
from sluice.core.params import load_params
from sluice.core.workspace import Workspace
from sluice.extras.sweep.search_space import SweepSettings


def settings(workspace: Workspace, *space: str) -> SweepSettings:
    lines = ["sweep:", "  trials: 3", "  minutes: 5", "  held_share: 0.25", "  space:", *(f"    {s}" for s in space)]
    workspace.params.write_text("\n".join(lines))
    return load_params(workspace.params, "sweep", SweepSettings)


def test_the_space_that_is_shipped_is_valid(workspace: Workspace) -> None:
    assert load_params(workspace.params, "sweep", SweepSettings).space.varied()


def test_a_range_and_choices_are_read_in_the_type_of_their_parameter(workspace: Workspace) -> None:
    varied = settings(workspace, "learning_rate: {low: 0.001, high: 1, log: true}", "rank: {choices: [4, 8]}")
    rate, rank = varied.space.varied()["learning_rate"], varied.space.varied()["rank"]
    assert isinstance(rate.high, float)
    assert (str(rate), str(rank)) == ("0.001 to 1 (log)", "4, 8")
    assert (rate.holds(0.5), rate.holds(2), rank.holds(8), rank.holds(6)) == (True, False, True, False)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("learnin_rate: {low: 0.1, high: 0.2}", "learnin_rate: unknown key (did you mean 'learning_rate'?)"),
        ("held_share: {low: 0.1, high: 0.2}", "space.held_share: unknown key"),
        ("rank: {low: 4.5, high: 8}", "space.rank.low: Input should be a valid integer"),
        ("rank: {low: 8, high: 512}", "train.rank cannot be 512: Input should be less than or equal to 256"),
        ("rank: {choices: [8, 0]}", "train.rank cannot be 0: Input should be greater than or equal to 1"),
        ("rank: {low: 16, high: 8}", "low 16 is not below high 8"),
        ("rank: {low: 8}", "needs low and high, or choices"),
        ("rank: {low: 8, high: 9, choices: [8]}", "has choices and a range: keep one of them"),
        ("warmup: {low: 0, high: 9, log: true}", "log needs a low above 0, not 0"),
        ("rank: {between: 8}", "space.rank.between: unknown key"),
    ],
)
def test_a_wrong_space_is_named_with_its_line(workspace: Workspace, line: str, said: str) -> None:
    with pytest.raises(ValidationErrors) as caught:
        settings(workspace, "steps: {low: 4, high: 8}", line)
    assert any(fault.startswith(f"{workspace.params}:7: ") and said in fault for fault in caught.value.faults), str(
        caught.value
    )


def test_a_space_without_parameters_is_refused(workspace: Workspace) -> None:
    with pytest.raises(ValidationErrors, match=r"names no parameter; it may name rank, alpha, .*learning_rate"):
        settings(workspace, "{}")
