"""A run of act beside what was evaluated for the same event: engine/tests/support/day_one.py."""

from __future__ import annotations

from policy.files import Repository
from support.day_one import SITUATIONS, find, starts
from workflows.act import Run
from workflows.scratch import ROOT

BY_NAME = {situation.name: situation for situation in SITUATIONS}


def compare(run: Run, workflow: str, name: str, *, private: bool = False) -> None:
    """A run is what was evaluated: the same jobs, every one green, and the same words."""
    github, situation = Repository.read(ROOT), BY_NAME[name]
    (file,) = [one for one in github.workflows if one.name == workflow]
    assert starts(file, situation)
    said = find(github, file, situation, private=private)
    ended = {}
    for job in run.jobs.values():
        first = job.name.split("/")[0]
        ended[job.id if first == workflow.removesuffix(".yml") else first] = job.result
    assert ended == dict.fromkeys(said.runs, "success")
    for line in said.says:
        assert line in run.summary
    assert run.status == 0
