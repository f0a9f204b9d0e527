import json
from typing import Any

import jsonschema
import pytest

from sluice.cluster import deploy_release
from sluice.cluster.deploy_release import end_of_rollout
from sluice.core.errors import SluiceError
from sluice.extras.first_release.first_release import analyses_of
from support.kubernetes.manifests import SCHEMAS
from support.kubernetes.player import Player
from unit.cluster.conftest import QUICK, Runner, hold, plane, release, rollout, run, template_hash

__all__ = ["plane", "run"]
ROUTE = {
    "apiVersion": "traefik.io/v1alpha1",
    "kind": "IngressRoute",
    "metadata": {"name": "sluice-tls", "namespace": "sluice-local"},
    "spec": {"routes": [{"kind": "Rule", "match": "Host(`a.example.com`)", "services": [{"name": "sluice-stable"}]}]},
}
UNJUDGED = "sluice/unjudged"


@pytest.fixture(autouse=True)
def visited(run: Runner) -> None:
    run.documents.append(ROUTE)


def has_visitors(plane: Player) -> bool:
    return plane.api.find("IngressRoute", "sluice-tls") is not None


def test_visitors_come_after_the_analyses(plane: Player, run: Runner) -> None:
    seen: list[bool] = []
    run.during["-quality: Successful"] = lambda: seen.append(has_visitors(plane))
    run.during["-load: Successful"] = lambda: seen.append(has_visitors(plane))
    done = run()
    assert (done.kind, done.first, seen) == ("promoted", True, [False, False])
    assert "IngressRoute/sluice-tls waits: no visitor before the release is judged" in run.lines
    assert has_visitors(plane)
    assert plane.api.find("IngressRoute", "sluice"), "the analyses have a route of their own"
    annotations = rollout(plane)["metadata"]["annotations"]
    assert annotations["sluice/promoted"] == template_hash(plane.api, release().id)
    assert UNJUDGED not in annotations
    assert run().kind == "unchanged"


def test_one_that_is_bad_gets_none_and_the_reason_is_told(plane: Player, run: Runner) -> None:
    plane.nodes.verdicts, plane.nodes.logs = {"load": "Failed"}, {"load": "gate canary_errors: error_rate is 0.5\n"}
    done = run()
    assert (done.kind, done.first) == ("failed", True)
    name = f"sluice-{template_hash(plane.api, release().id)}-load"
    assert done.reasons == (f"{name}: load: Failed; must hold: the Job succeeds; measurements: 1 failed",)
    assert "  gate canary_errors: error_rate is 0.5" in done.logs
    assert not has_visitors(plane)
    annotations = rollout(plane)["metadata"]["annotations"]
    assert UNJUDGED in annotations
    assert "sluice/promoted" not in annotations
    place = (run.cluster, "sluice-local", "sluice", release().id)
    assert "was not judged" in end_of_rollout(*place, show=run.lines.append, seconds=240)


def test_a_release_over_one_that_was_not_judged_is_no_canary(plane: Player, run: Runner) -> None:
    run.documents[:] = [json.loads(json.dumps(one).replace(release().id, "r-000000000000")) for one in run.documents]
    plane.nodes.verdicts = {"quality": "Failed"}
    assert run().kind == "failed"
    plane.nodes.dead = {"r-000000000000"}
    plane.nodes.verdicts = {}
    run.documents[:] = [json.loads(json.dumps(one).replace("r-000000000000", release().id)) for one in run.documents]
    assert run().kind == "promoted"
    assert "no visitor is here yet: the steps of a canary are left out" in run.lines
    assert not [one for one in run.weights if 0 < one < 100]
    assert has_visitors(plane)


def test_a_release_after_one_that_was_judged_is_a_canary(plane: Player, run: Runner) -> None:
    hold(plane)
    done = run()
    assert (done.kind, done.first) == ("promoted", False)
    assert [one for one in run.weights if one] == [10, 50, 100]
    assert run.text.index("applied ") < run.text.index("Rollout sluice: generation"), "its routes come with the rest"
    assert UNJUDGED not in rollout(plane)["metadata"]["annotations"]


def test_an_analysis_is_the_templates_with_the_arguments_of_the_step(plane: Player, run: Runner) -> None:
    (step,) = [
        one["analysis"] for one in run.one("Rollout")["spec"]["strategy"]["canary"]["steps"][5:6] if "analysis" in one
    ]
    step["args"].append({"name": "users", "value": "7"})
    run()
    schema = json.loads((SCHEMAS / "argoproj.io_analysistemplate.json").read_text())["properties"]["spec"]
    digest = template_hash(plane.api, release().id)
    for name in ("quality", "load"):
        made = plane.api.find("AnalysisRun", f"sluice-{digest}-{name}")
        template = plane.api.find("AnalysisTemplate", name)
        assert made
        assert template
        assert not list(jsonschema.Draft7Validator(schema).iter_errors(made["spec"]))
        assert made["spec"]["metrics"] == template["spec"]["metrics"]
        values = {one["name"]: one["value"] for one in template["spec"]["args"] if "value" in one}
        changed = {"users": "7"} if name == "load" else {}
        assert {one["name"]: one["value"] for one in made["spec"]["args"]} == values | changed
        # The Rollout's controller ends the runs that it owns and has not begun (rollout/analysis.go:36-50, 80).
        (owner,) = made["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["name"], owner.get("controller")) == ("ReplicaSet", f"sluice-{digest}", None)


def test_an_analysis_that_does_not_end_says_how_to_go_on(
    plane: Player, run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deploy_release, "WatchTimeouts", lambda: QUICK)
    run.during["-quality: Running"] = lambda: setattr(plane, "fixed", True)
    with pytest.raises(SluiceError, match="not finished after 3 s") as caught:
        run(seconds=3)
    assert "run the same command again" in str(caught.value)
    assert not has_visitors(plane)
    plane.fixed = False
    assert run().kind == "promoted", "the one that is under way is watched"
    assert has_visitors(plane)


def test_a_template_that_is_not_rendered_is_named(plane: Player, run: Runner) -> None:
    (template,) = (
        one for one in run.documents if one["kind"] == "AnalysisTemplate" and one["metadata"]["name"] == "load"
    )
    run.documents.remove(template)
    namespace: dict[str, Any] = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "sluice-local"}}
    plane.api.apply(namespace)
    plane.api.apply(template)  # by somebody else, so that the controller is content
    with pytest.raises(SluiceError, match="AnalysisTemplate/load: it was not rendered"):
        run()
    assert not has_visitors(plane)


def test_a_blue_green_release_is_judged_by_what_stands_before_its_switch() -> None:
    before = {"templates": [{"templateName": "quality"}, {"templateName": "load"}]}
    assert list(analyses_of({"blueGreen": {"prePromotionAnalysis": before}})) == ["quality", "load"]
    assert list(analyses_of({"blueGreen": {}})) == []
    platform = {"templates": [{"templateName": "budget", "clusterScope": True}]}
    assert list(analyses_of({"canary": {"steps": [{"analysis": platform}]}})) == []
    assert list(analyses_of({"canary": {"maxSurge": 1}})) == [], "components/rolling has none"
