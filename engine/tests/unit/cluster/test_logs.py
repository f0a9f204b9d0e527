"""Whose log is shown."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from sluice.cluster.apply import job_log


def client(pod: dict[str, Any], asked: list[str]) -> httpx.Client:
    def answer(request: httpx.Request) -> httpx.Response:
        if not request.url.path.endswith("/log"):
            return httpx.Response(200, json={"items": [{"metadata": {"name": "p"}, **pod}]})
        asked.append(request.url.params.get("container", ""))
        return httpx.Response(200, text="said")

    return httpx.Client(transport=httpx.MockTransport(answer), base_url="http://api")


def state(name: str, code: int) -> dict[str, Any]:
    return {"name": name, "state": {"terminated": {"exitCode": code}}}


@pytest.mark.parametrize(
    ("status", "container"),
    [
        ({}, ""),
        ({"containerStatuses": [state("index", 0)]}, ""),
        ({"containerStatuses": [state("index", 1)]}, "index"),
        ({"initContainerStatuses": [state("release", 0), state("schema", 1)]}, "schema"),
        ({"initContainerStatuses": [{"name": "release", "state": {"running": {}}}]}, ""),
    ],
)
def test_of_several_steps_the_one_that_failed_is_heard(status: dict[str, Any], container: str) -> None:
    asked: list[str] = []
    assert job_log(client({"status": status}, asked), "space", "job") == ["said"]
    assert asked == [container]


def test_of_a_long_log_the_verdicts_are_shown() -> None:
    """Locust ends with its tables, and a Job of the comparison begins with its progress."""
    log = "quality: 84/240 answers (44 s left)\nType  Name  # reqs\ngates of the load stage:\npassed: a\nFAILED: b\n"

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/log"):
            return httpx.Response(200, text=log)
        return httpx.Response(200, json={"items": [{"metadata": {"name": "p"}}]})

    there = httpx.Client(transport=httpx.MockTransport(answer), base_url="http://api")
    assert job_log(there, "space", "job") == ["gates of the load stage:", "passed: a", "FAILED: b"]


def test_a_job_past_its_deadline_says_so_itself() -> None:
    """The controller of Jobs deletes its pods then (kubernetes 1.34, recorded)."""
    late = {"type": "Failed", "status": "True", "reason": "DeadlineExceeded", "message": "Job was active too long"}

    def answer(request: httpx.Request) -> httpx.Response:
        if "/jobs/" in request.url.path:
            return httpx.Response(200, json={"status": {"conditions": [late]}})
        return httpx.Response(200, json={"items": []})

    there = httpx.Client(transport=httpx.MockTransport(answer), base_url="http://api")
    (line,) = job_log(there, "space", "job")
    assert line.endswith("their log with them: DeadlineExceeded, Job was active too long")
