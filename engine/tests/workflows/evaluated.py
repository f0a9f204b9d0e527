"""A run of act beside what was evaluated for the same event: engine/tests/support/day_one.py."""

from policy.files import File, Repository
from support.day_one import SITUATIONS, Situation, find, starts
from workflows.act import Run
from workflows.scratch import ROOT


def situation_of(workflow: str, name: str) -> tuple[File, Situation]:
    (file,) = [one for one in Repository.read(ROOT).workflows if one.name == workflow]
    (situation,) = [one for one in SITUATIONS if one.name == name and starts(file, one)]
    return file, situation


def compare(run: Run, workflow: str, name: str, *, private: bool = False) -> None:
    """A run has the jobs and words that were evaluated for the same event."""
    file, situation = situation_of(workflow, name)
    said = find(Repository.read(ROOT), file, situation, private=private)
    ended = {}
    for job in run.jobs.values():
        first = job.name.split("/")[0]
        ended[job.id if first == workflow.removesuffix(".yml") else first] = job.result
    assert ended == dict.fromkeys(said.runs, "success")
    for line in said.says:
        assert line in run.summary
    assert run.status == 0
