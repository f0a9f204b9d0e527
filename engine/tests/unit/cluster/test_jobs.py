from typing import Any

import httpx
import pytest

from sluice.cluster.apply import job_log
from sluice.core.errors import SluiceError
from support.kubernetes.player import Player

from .conftest import IMAGE, Runner, hold, rollout

JOB: dict[str, Any] = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "metadata": {"name": "migrate-1", "namespace": "sluice-local"},
    "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "migrate", "image": IMAGE}]}}},
}


@pytest.fixture(autouse=True)
def before(plane: Player, run: Runner) -> None:
    hold(plane)
    run.documents.append(JOB)


def pod(plane: Player, state: dict[str, Any], phase: str) -> None:
    container = {"name": "migrate", "image": IMAGE, "state": state}
    plane.api.write(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "migrate-1-x", "labels": {"batch.kubernetes.io/job-name": "migrate-1"}},
            "spec": {"containers": [{"name": "migrate", "image": IMAGE}]},
            "status": {"phase": phase, "containerStatuses": [container]},
        },
        "kubelet",
    )


def applied(plane: Player) -> list[str]:
    asked = [path for method, path in plane.api.requests if method == "PATCH" and "fieldManager=" in path]
    return [path.partition("?")[0].rpartition("/")[2] for path in asked]


def deleted(plane: Player) -> list[str]:
    return [path.partition("?")[0] for method, path in plane.api.requests if method == "DELETE"]


def test_jobs_run_before_the_rollout(plane: Player, run: Runner) -> None:
    assert run().kind == "promoted"
    assert applied(plane)[-2:] == ["migrate-1", "sluice"]
    assert "job migrate-1: done" in run.lines


def test_a_job_that_fails_leaves_the_rollout_alone(plane: Player, run: Runner) -> None:
    pod(plane, {"terminated": {"exitCode": 1}}, "Failed")
    plane.nodes.verdicts = {"migrate-1": "Failed"}
    plane.api.logs["migrate-1-x"] = "relation is locked\n"
    with pytest.raises(SluiceError, match="relation is locked"):
        run()
    assert "sluice" not in applied(plane)[-1:]
    assert rollout(plane)["metadata"]["generation"] == 1


def test_a_job_that_failed_before_is_made_anew(plane: Player, run: Runner) -> None:
    plane.nodes.verdicts = {"migrate-1": "Failed"}
    with pytest.raises(SluiceError, match="deploying again runs the job again"):
        run()
    plane.nodes.verdicts = {}
    assert run().kind == "promoted"
    assert "job migrate-1: failed before, once more" in run.lines
    assert deleted(plane) == [plane.api.path("Job", "migrate-1")]


def test_a_job_that_was_done_before_is_not_made_anew(plane: Player, run: Runner) -> None:
    run()
    assert run().kind == "unchanged"
    assert not deleted(plane)


def test_why_a_job_does_not_start_is_told_once(plane: Player, run: Runner) -> None:
    pod(plane, {"waiting": {"reason": "ErrImagePull", "message": "manifest for the digest not found"}}, "Pending")
    looks: list[bool] = []

    def turn() -> bool:
        looks.append(plane.api.find("Job", "migrate-1") is not None)
        return plane.turn() if not looks[-1] or sum(looks) > 3 else False

    plane.api.controllers = turn
    assert run().kind == "promoted"
    assert run.lines.count("job migrate-1: pod migrate-1-x: ErrImagePull: manifest for the digest not found") == 1


def client(pods: list[Any], log: str = "", conditions: Any = ()) -> httpx.Client:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/log"):
            return httpx.Response(200, text=f"{request.url.params.get('container', '')}\n{log}")
        if "/jobs/" in request.url.path:
            return httpx.Response(200, json={"status": {"conditions": conditions}})
        return httpx.Response(200, json={"items": pods})

    return httpx.Client(transport=httpx.MockTransport(answer), base_url="http://api")


def test_of_several_steps_the_one_that_failed_is_heard() -> None:
    ended = [
        {"name": name, "state": {"terminated": {"exitCode": code}}} for name, code in (("release", 0), ("schema", 1))
    ]
    for status, container in (({}, ""), ({"initContainerStatuses": ended}, "schema")):
        assert job_log(client([{"metadata": {"name": "p"}, "status": status}]), "space", "job") == [container]


def test_of_a_long_log_the_verdicts_are_shown() -> None:
    log = "quality: 84/240 answers (44 s left)\nType  Name  # reqs\ngates of the load stage:\npassed: a\nFAILED: b\n"
    told = job_log(client([{"metadata": {"name": "p"}}], log), "space", "job")
    assert told == ["gates of the load stage:", "passed: a", "FAILED: b"]


def test_a_job_past_its_deadline_says_so_itself() -> None:
    late = {"type": "Failed", "status": "True", "reason": "DeadlineExceeded", "message": "Job was active too long"}
    (line,) = job_log(client([], conditions=[late]), "space", "job")
    assert line.endswith("their log with them: DeadlineExceeded, Job was active too long")
