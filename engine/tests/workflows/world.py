"""All that outlives a run: GitHub, the clusters, the artifact store, and what the stubs keep."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from support.kubernetes.api_server import KubeApi, serving
from support.kubernetes.player import Player
from unit.github.fake_github import WRITER, FakeGitHub, fake_github
from workflows.act import Run, Runner, load, opened
from workflows.coverage import Step, began, declared
from workflows.scratch import REPOSITORY, ROOT, Scratch, dispatched, pull_request, pushed

ENVIRONMENTS = ("staging", "production")


@dataclass
class World:
    scratch: Scratch
    github: FakeGitHub
    clusters: dict[str, Player]
    runner: Runner
    variables: dict[str, str]
    runs: list[Run] = field(default_factory=list)

    def ci(self, *, number: int = 500, **event: Any) -> Run:
        actor = event.pop("actor", "octocat")
        return self._run("ci.yml", "pull_request", pull_request(self.scratch, **event), number=number, actor=actor)

    def release(self, *, number: int, attempt: int = 1, event: dict[str, Any] | None = None, **options: Any) -> Run:
        workflow = options.pop("workflow", "release.yml")
        payload = pushed(self.scratch, **event or {})
        return self._run(workflow, "push", payload, number=number, attempt=attempt, **options)

    def dispatch(self, workflow: str, *, number: int, actor: str = "octocat", fails: str = "", **inputs: str) -> Run:
        """Run a workflow by hand. `fails`: what `make` is to fail at."""
        payload = dispatched(**inputs)
        return self._run(workflow, "workflow_dispatch", payload, number=number, actor=actor, PLAYED_FAILS=fails)

    def _run(
        self,
        workflow: str,
        event: str,
        payload: dict[str, Any],
        *,
        number: int,
        attempt: int = 1,
        actor: str = "octocat",
        token: str = WRITER,
        gate: Callable[[str], bool] | None = None,
        **environment: str,
    ) -> Run:
        environment |= {"GITHUB_RUN_ID": str(number), "GITHUB_RUN_ATTEMPT": str(attempt)}
        with ExitStack() as stack:
            if gate:
                environment |= stack.enter_context(opened(gate))
            run = self.runner.run(
                workflow,
                event,
                payload,
                secrets={"GITHUB_TOKEN": token},
                variables=self.variables,
                actor=actor,
                jobs_at_once=1 if gate else 2,
                environment=environment,
            )
        self.runs.append(run)
        return run

    def inline(self, workflow: str) -> None:
        _inline(self.scratch.root, workflow)

    def artifact(self, name: str, *, run: int) -> Path:
        return self.runner.place / "artifacts" / str(run) / name

    def made(self) -> list[str]:
        return self.kept("made")

    def kept(self, name: str) -> list[str]:
        path = self.runner.place / name
        return path.read_text().splitlines() if path.exists() else []

    def traces(self, name: str) -> list[str]:
        """Files of this name, and calls of the stub `touch` for one."""
        return [*map(str, self.runner.place.rglob(f"*{name}*")), *(one for one in self.kept("touched") if name in one)]

    def missed(self, workflow: str) -> set[Step]:
        """Steps of a workflow and of all that it calls that no run has begun."""
        return declared(ROOT, workflow) - began(ROOT, self.runs)

    def record(self, environment: str = "production") -> list[tuple[str, str]]:
        kept = (self.artefacts / "record").glob(f"**/{environment}/*.json")  # what was refused lies apart
        events = sorted((json.loads(path.read_text()) for path in kept), key=lambda event: event["time"])
        return [(event["event"], event["id"]) for event in events]

    @property
    def artefacts(self) -> Path:
        return self.runner.place / "artefacts"

    def state(self) -> dict[str, Any]:
        """What a run leaves behind, without times: two worlds that went the same way are equal in it."""
        registry = self.runner.place / "registry.json"
        return {
            "record": {name: self.record(name) for name in ENVIRONMENTS},
            "catalogue": _catalogue(self.artefacts / "record" / "releases"),
            "artefacts": len(list(self.artefacts.glob("sha256/*"))),
            "aliases": json.loads(registry.read_text()) if registry.exists() else {},
            "images": sorted(path.name for path in self.runner.place.glob("images/*")),
            "attested": len(set(self.kept("attested"))),
            "artifacts": sorted(path.name for path in self.runner.place.glob("artifacts/*/*") if path.is_dir()),
            "clusters": {name: _cluster(plane.api) for name, plane in self.clusters.items()},
            "releases": [_release(one) for one in self.github.releases.by_id.values()],
            "issues": [(one["title"], one["state"]) for one in self.github.issues.values()],
        }


def _catalogue(folder: Path) -> list[tuple[str, bool]]:
    entries = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    return [(entry["id"], entry["baseline"]) for entry in entries]


def _cluster(api: KubeApi) -> Any:
    rollout = api.objects.get(api.path("Rollout", "sluice"))
    if rollout is None:
        return None
    template = rollout["spec"]["template"]
    image = template["spec"]["containers"][0]["image"]
    release = template["metadata"]["labels"]["app.kubernetes.io/version"]
    return release, image, rollout.get("status", {}).get("phase"), rollout["metadata"]["generation"]


def _release(release: dict[str, Any]) -> Any:
    return release["tag_name"], release["draft"], release["body"], sorted(one["name"] for one in release["assets"])


@contextmanager
def world(scratch: Scratch, folder: Path, *, whole: bool = True) -> Iterator[World]:
    place = folder / "place"
    with fake_github(FakeGitHub()) as github, ExitStack() as stack:
        clusters = {name: Player(stack.enter_context(serving(KubeApi()))) for name in ENVIRONMENTS}
        (place / "clusters").mkdir(parents=True)
        for name, plane in clusters.items():
            plane.hurry(10)
            plane.api.kubeconfig(place / "clusters" / name)
        environment = {
            "GITHUB_API_URL": github.url,
            "GITHUB_REPOSITORY": REPOSITORY,
            "SLUICE_CACHE": str(folder / "cache"),
        }
        variables = {"SLUICE_ARTEFACTS": str(place / "artefacts")}
        if whole:
            variables |= {"EKS_CLUSTER": "played", "SLUICE_IMAGE_BASE": "base@sha256:" + "0" * 64}
            variables |= {"AWS_ROLE_ARN": "arn:aws:iam::000000000000:role/played", "AWS_REGION": "us-east-1"}
            variables |= {"AWS_EVALUATION_ROLE_ARN": "arn:aws:iam::000000000000:role/evaluation"}
            variables |= {"SLUICE_TRAIN_ON": "sagemaker", "SLUICE_SERVE_ON": "sagemaker"}
        runner = Runner(scratch.root, folder / "home", place, environment)
        yield World(scratch, github, clusters, runner, variables)


# What the caller says about a job that it calls; the rest is the callee's.
_OF_CALLER = ("name", "needs", "if", "permissions")


def _inline(root: Path, workflow: str) -> None:
    """Write called workflows into a file: act ends a run at the first one that fails, and GitHub goes on."""
    path = root / ".github" / "workflows" / workflow
    content = load(path)
    content["on"] = content.pop(True)  # YAML 1.1 reads the key `on` as true
    for name, job in content["jobs"].items():
        if job.get("uses", "").startswith("./"):
            content["jobs"][name] = _inlined(job, load(root / job["uses"]))
    path.write_text(yaml.safe_dump(content, sort_keys=False, width=1000))


def _inlined(caller: dict[str, Any], callee: dict[Any, Any]) -> dict[str, Any]:
    ((_, job),) = callee["jobs"].items()
    inputs = (callee[True]["workflow_call"] or {}).get("inputs", {})
    given = {name: f"'{said.get('default', '')}'" for name, said in inputs.items()}
    given |= {name: _expression(str(value)) for name, value in caller.get("with", {}).items()}
    job = _with_inputs(job, given)
    declared = (callee[True]["workflow_call"] or {}).get("outputs", {})
    outputs = {name: job["outputs"][output["value"].split(".")[-1].rstrip(" }")] for name, output in declared.items()}
    return {
        **job,
        **{key: caller[key] for key in _OF_CALLER if key in caller},
        **({"outputs": outputs} if outputs else {}),
    }


def _with_inputs(value: Any, given: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _with_inputs(inner, given) for key, inner in value.items()}
    if isinstance(value, list):
        return [_with_inputs(inner, given) for inner in value]
    if isinstance(value, str):
        return re.sub(r"\binputs\.([\w-]+)", lambda found: given[found[1]], value)
    return value


def _expression(value: str) -> str:
    found = re.fullmatch(r"\$\{\{(.*)\}\}", value)
    return f"({found[1].strip()})" if found else f"'{value}'"
