"""Which `run:` steps the workflows have, and which of them a run began."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from sluice.core.extras import extras
from workflows.act import Job, Run, load

# Workflows that the tests run, with all that they call; those of an extra where it is there.
_OF_EXTRAS = {
    "train": "finetune",
    "upgrade-template": "upgrade",
    "template-tests": "engine_tests",
    "template-release": "engine_tests",
    "answer-requests": "hosted",
}
RUN = tuple(
    f"{name}.yml"
    for name in ("ci", "release", "rollback", "nightly", *_OF_EXTRAS)
    if _OF_EXTRAS.get(name) in (None, *extras())
)


class Step(NamedTuple):
    """A `run:` step: the file, the job (empty in a composite action), and its id, or its index where it has none."""

    file: str
    job: str
    step: str


def declared(root: Path, workflow: str) -> set[Step]:
    found: set[Step] = set()
    for name, job in load(root / ".github" / "workflows" / workflow)["jobs"].items():
        called = job.get("uses", "")
        if called.startswith("./"):
            found |= declared(root, Path(called).name)
        found |= _of_steps(root, workflow, name, job.get("steps", []))
    return found


def _of_steps(root: Path, file: str, job: str, steps: list[dict[str, Any]]) -> set[Step]:
    found: set[Step] = set()
    for index, step in enumerate(steps):
        if "run" in step:
            found.add(Step(file, job, step.get("id", str(index))))
        elif step["uses"].startswith("./"):
            action = Path(step["uses"])
            saves = step.get("with", {}).get("cache") == "save"  # one job of the night does
            steps_of = load(root / action / "action.yml")["runs"]["steps"]
            steps_of = [one if saves or "'save'" not in one.get("if", "") else {"uses": ""} for one in steps_of]
            found |= _of_steps(root, action.name, "", steps_of)
    return found


def began(root: Path, runs: Iterable[Run]) -> set[Step]:
    return {step for run in runs for job in run.jobs.values() for step in _of_job(root, job)}


def _of_job(root: Path, job: Job) -> set[Step]:
    file, name, steps = _find(root, job)
    by_key = {step.get("id", str(index)): step for index, step in enumerate(steps)}
    found: set[Step] = set()
    for key in job.ran:
        first, _, rest = key.partition("/")
        step = by_key.get(first, {})
        if not rest and "run" in step:
            found.add(Step(file, name, first))
        elif rest and step.get("uses", "").startswith("./"):
            found.add(Step(Path(step["uses"]).name, "", rest))
    return found


def _find(root: Path, job: Job) -> tuple[str, str, list[dict[str, Any]]]:
    """The file of a job, its name there, and its steps; for a job that was inlined, those of the called workflow."""
    for path in sorted((root / ".github" / "workflows").glob("*.yml")):
        workflow = load(path)
        name = workflow.get("name", path.name)
        if job.id in workflow["jobs"] and f"/{name}/" in f"/{job.name}":
            content = workflow["jobs"][job.id]
            if "uses" not in content:
                return path.name, job.id, content["steps"]
            called = root / content["uses"]
            ((inner, steps),) = load(called)["jobs"].items()
            return called.name, inner, steps["steps"]
    raise AssertionError(f"{job.name}: of no workflow in {root}")
