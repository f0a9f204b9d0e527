from collections.abc import Callable
from pathlib import Path

import pytest

from sluice.core.errors import SluiceError
from sluice.rollout.analysis_templates import LoadParameters, QualityParameters
from sluice.rollout.canary_plan import Step, load_plan

RolloutWriter = Callable[..., Path]
GOOD = """
- setWeight: 10
- pause: {duration: 5m}
- analysis: {templates: [{templateName: load}]}
- setWeight: 50
- pause: {duration: 1h}
- pause: {duration: 20}
- analysis:
    templates: [{templateName: load}]
    args: [{name: users, value: "4"}]
"""


def test_a_plan_holds_the_steps_in_order_with_durations_in_seconds(rollout_file: RolloutWriter) -> None:
    plan = load_plan(rollout_file(GOOD, duration="3m", users="2"))
    assert [step.kind for step in plan.steps[:4]] == ["setWeight", "pause", "analysis", "setWeight"]
    assert plan.steps[0] == Step("setWeight", weight=10)
    assert [step.seconds for step in plan.steps if step.kind == "pause"] == [300, 3600, 20]
    assert plan.seconds == 300 + 3600 + 20 + 2 * 180


def test_the_load_comes_from_the_template_unless_the_step_says_otherwise(rollout_file: RolloutWriter) -> None:
    path = rollout_file(GOOD, users="3", duration="90s", shape="staircase", answer_timeout="7s")
    first, second = (step.parameters for step in load_plan(path).steps if step.parameters)
    assert isinstance(first, LoadParameters)
    assert isinstance(second, LoadParameters)
    assert (first.users, first.seconds, first.shape, first.answer_timeout_s) == (3, 90, "staircase", 7)
    assert (second.users, second.seconds) == (4, 90)


UNSEEN = """
- setCanaryScale: {weight: 10}
- analysis:
    templates: [{templateName: quality}]
    args: [{name: cases, value: "60"}]
- setCanaryScale: {matchTrafficWeight: true}
- setWeight: 10
- pause: {duration: 30s}
- analysis: {templates: [{templateName: load}]}
"""


def test_a_plan_is_fitted_to_one_machine(rollout_file: RolloutWriter) -> None:
    plan = load_plan(rollout_file(UNSEEN, duration="3m"))
    small = plan.fitted(time_scale=0.1, cases=20)
    assert small.steps[4] == Step("pause", 3)
    found = [step.parameters for step in small.steps if step.parameters]
    assert isinstance(found[0], QualityParameters)
    assert isinstance(found[1], LoadParameters)
    assert (found[0].cases, found[1].seconds, found[1].users) == (20, 18, 2)
    assert [step.kind for step in small.steps] == [step.kind for step in plan.steps]
    unchanged = plan.fitted(time_scale=1)
    assert unchanged == plan, "without a number of cases it is that of the template"


ANALYSIS = "- analysis: {templates: [{templateName: load}]}\n"


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ("- setHeaderRoute: {name: x}\n", "steps.0.setHeaderRoute: unknown key"),
        ("- setCanaryScale: {}\n", "steps.0: setCanaryScale is exactly one of replicas, weight, matchTrafficWeight"),
        ("- pause: {duration: soon}\n", "steps.0: 'soon' is not a duration"),
        ("- {setWeight: 5, pause: {duration: 1m}}\n", "steps.0: a step is exactly one of"),
        ("- setWeight: 101\n", "steps.0.setWeight: Input should be less than or equal to 100"),
        ("- setWeight: 50\n- setWeight: 50\n", "steps.1.setWeight: weights must rise, found 50 after 50"),
        (
            "- analysis: {templates: [{templateName: load}, {templateName: quality}]}\n",
            "analysis.templates: Tuple should",
        ),
        ("- analysis: {templates: [{templateName: laod}]}\n", "template 'laod' is not one .* .did you mean 'load'."),
        (
            "- analysis: {templates: [{templateName: load}], args: [{name: users, value: '1'}]}\n",
            "at least 2 are needed",
        ),
    ],
)
def test_anything_else_is_refused_by_name_with_its_line(rollout_file: RolloutWriter, steps: str, said: str) -> None:
    path = rollout_file(steps + ANALYSIS)
    with pytest.raises(SluiceError, match=rf"{path}:\d+: spec\.strategy\.canary\..*{said}") as caught:
        load_plan(path)
    assert "engine/docs/reference/rollout.md" in caught.value.remedy


GATE, PLATFORM = "- pause: {}\n", "- analysis: {templates: [{templateName: budget, clusterScope: true}]}\n"


def test_what_only_a_cluster_has_is_left_out_by_name(rollout_file: RolloutWriter) -> None:
    gate, platform, load = load_plan(rollout_file(GATE + PLATFORM + ANALYSIS)).fitted(time_scale=0.1).steps
    assert (gate.kind, gate.seconds, gate.only_in_cluster) == ("pause", 0, "the pause in which a person decides")
    assert (platform.parameters, platform.only_in_cluster) == (None, "the ClusterAnalysisTemplate budget")
    assert (load.only_in_cluster, bool(load.parameters)) == ("", True)


@pytest.mark.parametrize("steps", ["- setWeight: 10\n- pause: {duration: 1m}\n", GATE + PLATFORM])
def test_a_plan_without_an_analysis_that_can_be_rehearsed_is_refused(rollout_file: RolloutWriter, steps: str) -> None:
    with pytest.raises(SluiceError, match="no analysis step that the rehearsal can run: nothing would decide"):
        load_plan(rollout_file(steps))


def test_a_template_must_tolerate_no_failed_measurement(rollout_file: RolloutWriter) -> None:
    path = rollout_file(GOOD)
    template = path.parents[2] / "engine" / "k8s" / "analysis" / "load.yaml"
    template.write_text(template.read_text().replace("failureLimit: 0", "failureLimit: 2"))
    with pytest.raises(SluiceError, match=r"load.yaml:\d+: spec.metrics.0.failureLimit: Input should be 0"):
        load_plan(path)
