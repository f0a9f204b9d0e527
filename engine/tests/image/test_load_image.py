"""The image of the analyses: listed, and run as the Jobs of engine/k8s/analysis run it, against real
services."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from image.containers import Job, Pod, damaged, installed, locked, podman
from sluice.core.processes import free_port
from sluice.extras.image.container_image import BuiltImage
from support.placed_release import Placed
from support.rollout.canaries import compared_releases

pytestmark = [pytest.mark.image, pytest.mark.timeout(1800)]

ROOT = Path(__file__).resolve().parents[3]
MakeJob = Callable[..., Job]


@pytest.fixture
def make(load_image: BuiltImage) -> Iterator[MakeJob]:
    """A Job of a template of engine/k8s/analysis, with these arguments, that judges a release."""
    made: list[Job] = []

    def call(template: str, arguments: Mapping[str, str], placed: Placed, key: str = "") -> Job:
        made.append(Job(load_image, ROOT / "engine" / "k8s" / "analysis" / f"{template}.yaml", arguments, placed, key))
        return made[-1]

    yield call
    for job in made:
        job.close()


def test_it_shares_the_code_with_the_one_that_serves(image: BuiltImage, load_image: BuiltImage) -> None:
    assert len(set(image.layers) & set(load_image.layers)) == 3, "the base, the user and the code"


def test_it_holds_locust_and_nothing_that_serves(load_image: BuiltImage) -> None:
    facts = json.loads(podman("image", "inspect", load_image.id))[0]["Config"]
    assert facts["Labels"]["org.opencontainers.image.title"] == "Sluice load"
    assert (facts["User"], facts["Entrypoint"], facts.get("Cmd")) == ("10001:10001", ["sluice"], None)
    listed = installed(load_image)
    assert {"locust", "pydantic", "obstore", "jsonschema"} <= listed.keys()
    assert listed.items() <= locked("load.txt").items()
    assert not {"fastapi", "langchain", "xllamacpp", "psycopg", "torch", "mlflow", "dvc", "pip"} & listed.keys()


STAGE = {"users": "2", "duration": "45s", "answer-timeout": "60s"}


def test_a_load_stage_against_the_serving_container(make: MakeJob, pod: Pod, placed: Placed) -> None:
    assert pod.fetch(placed).returncode == 0
    pod.start()
    assert pod.ready(), pod.log()
    urls = {"router-url": pod.url, "canary-url": pod.url, "stable-url": pod.url}
    done = make("load", STAGE | urls, placed, pod.key).run()
    print(done.stderr)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Aggregated" in done.stderr


def test_a_load_stage_that_measures_nothing_is_no_pass(make: MakeJob, placed: Placed) -> None:
    closed = f"http://127.0.0.1:{free_port()}"
    done = make("load", STAGE | {"router-url": closed, "canary-url": closed, "stable-url": closed}, placed).run()
    assert done.returncode == 2, done.stdout + done.stderr
    assert "stable does not answer" in done.stderr


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with compared_releases(tmp_path_factory.mktemp("services")) as urls:
        yield urls


@pytest.mark.parametrize(("canary", "status", "said"), [("good", 0, "no difference seen"), ("worse", 3, "worse")])
def test_the_answers_of_a_canary_are_compared(
    make: MakeJob, scripted: Placed, services: dict[str, str], canary: str, status: int, said: str
) -> None:
    urls = {"stable-url": services["stable"], "canary-url": services[canary]}
    done = make("quality", urls, scripted).run()
    assert done.returncode == status, done.stdout + done.stderr
    assert said in done.stdout


def test_gates_that_were_changed_in_the_place_judge_nothing(make: MakeJob, placed: Placed) -> None:
    digest = placed.moved.manifest.files["judging/gates.yaml"]
    with damaged(placed, digest):
        done = make("load", STAGE, placed).run()
    assert done.returncode == 1
    assert digest in done.stderr
    assert "Traceback" not in done.stderr
