"""The serving image as a whole: built twice, listed, and run as a cluster runs it, with a real release."""

import re
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from image.containers import Pod, damaged, installed, isolation, locked, podman
from sluice.core import git
from sluice.extras.image.container_image import BuiltImage, build
from support.placed_release import Placed

pytestmark = [pytest.mark.image, pytest.mark.timeout(1800)]

ROOT = Path(__file__).resolve().parents[3]
QUESTION = "What gets a small share of the traffic first?"


def test_the_build_itself_refuses_a_base_without_a_digest(base: str) -> None:
    loose = "localhost/sluice-test-base:loose"
    podman("tag", base, loose)
    file = str(ROOT / "engine" / "Containerfile")
    argv = ["buildah", "build", *isolation(), "--build-arg", f"BASE={loose}", "--file", file]
    done = subprocess.run([*argv, str(ROOT)], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert f"BASE={loose}: name the base image by digest" in done.stderr


def test_it_says_what_it_is(facts: dict[str, Any], base: str) -> None:
    labels = {key.removeprefix("org.opencontainers.image."): value for key, value in facts["Config"]["Labels"].items()}
    assert labels["title"] == "Sluice"
    assert labels["licenses"] == "Apache-2.0"
    assert labels["revision"] == git.commit(ROOT)
    assert labels["base.name"] == base
    assert re.fullmatch(r"\d+\.\d+\.\d+", labels["version"])
    assert re.match(r"20\d\d-", labels["created"])
    assert facts["Config"]["User"] == "10001:10001"
    assert facts["Config"]["Entrypoint"] == ["sluice"]
    assert not [line for line in facts["Config"]["Env"] if re.search(r"KEY|TOKEN|SECRET|PASSWORD", line)]


def test_a_second_build_is_the_same_image(image: BuiltImage, base: str) -> None:
    again = build(ROOT, base, "localhost/sluice:test-again", isolation())
    assert again.layers == image.layers
    assert again.id == image.id


def test_the_bill_of_materials_lists_what_is_in_it(image: BuiltImage) -> None:
    listed = installed(image)
    assert listed.items() <= locked("serve.txt").items()
    assert {"fastapi", "xllamacpp", "ctranslate2", "boto3"} <= listed.keys()
    assert not {"torch", "transformers", "mlflow", "dvc", "locust", "pytest", "moto", "pip", "uv"} & listed.keys()


def test_it_answers_and_drains(pod: Pod, placed: Placed) -> None:
    fetched = pod.fetch(placed)
    assert fetched.returncode == 0, fetched.stderr
    assert f"sha256:{placed.moved.digest}" in fetched.stdout
    pod.start()
    assert pod.ready(), pod.log()
    assert pod.execute("import os; print(os.getuid(), os.getgid())") == "10001 10001"
    assert pod.execute(WRITABLE) == "/app/.sluice /tmp"

    reply = pod.ask(QUESTION)
    assert reply.status_code == 200, reply.text
    assert reply.headers["x-sluice-release"] == placed.moved.manifest.id
    answer = reply.json()
    assert answer["choices"][0]["message"]["content"].strip()
    assert isinstance(answer["citations"], list)  # the untouched model answers in its own words, which cites nothing

    replies: list[int] = []
    asking = threading.Thread(target=lambda: replies.append(pod.ask(QUESTION).status_code))
    asking.start()
    time.sleep(0.1)
    pod.terminate()
    assert pod.wait() == 0, pod.log()
    asking.join(60)
    assert replies == [200]


WRITABLE = """
import os
def writes(folder):
    try:
        open(f"{folder}/probe", "w").close()
        os.unlink(f"{folder}/probe")
        return True
    except OSError:
        return False
folders = ("/", "/app", "/app/.sluice", "/app/config", "/models", "/opt/libraries", "/opt/sluice", "/release", "/tmp")
print(*filter(writes, folders))
"""


def test_a_model_that_was_changed_in_the_place_is_not_fetched(pod: Pod, placed: Placed) -> None:
    digest = placed.moved.manifest.models["chat"].sha256
    with damaged(placed, digest):
        done = pod.fetch(placed)
    assert done.returncode == 1
    assert digest in done.stderr
    assert "Traceback" not in done.stderr


def test_a_release_that_was_changed_after_it_was_fetched_is_not_served(pod: Pod, placed: Placed) -> None:
    assert pod.fetch(placed).returncode == 0
    code = "open('/release/prompts/answer.prompt.yml', 'a').write('# changed')"
    assert pod.init(placed.place, "-c", code, entrypoint="python").returncode == 0
    pod.start()
    assert pod.wait() == 1
    assert "answer.prompt.yml: sha256 is" in pod.log()
