import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from sluice.core.processes import free_port, wait_until
from sluice.core.workspace import Workspace
from support.local_server import answers
from support.placed_release import QUESTIONS, Placed, checkout, placed  # noqa: F401 - fixtures

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]
ROOT = Path(__file__).resolve().parents[3]
_START_SECONDS = 300


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheels")
    programs = Path(sys.executable).parent
    for project in (ROOT, ROOT / "engine"):
        build = [programs / "hatchling", "build", "--target", "wheel", "--directory", folder / "dist"]
        subprocess.run(build, cwd=project, check=True, capture_output=True)
    venv.create(folder / "venv", with_pip=False)
    python = folder / "venv" / "bin" / "python"
    wheels = sorted((folder / "dist").glob("*.whl"))
    assert [wheel.name.partition("-")[0] for wheel in wheels] == ["assistant", "sluice"]
    install = [programs / "uv", "pip", "install", "--quiet", "--offline", "--no-deps", "--python", python, *wheels]
    subprocess.run(install, check=True)
    # A plain line of a .pth file is a path; those that lie there, such as of an editable install, are not read.
    own = Path(sysconfig.get_path("purelib", vars={"base": str(folder / "venv")}))
    (own / "libraries.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    return folder / "venv"


@pytest.fixture
def service(environment: Path, placed: Placed, tmp_path: Path) -> Iterator[str]:  # noqa: F811
    here, release, log = tmp_path / "empty", tmp_path / "release", tmp_path / "log"
    here.mkdir()
    assert Workspace.around(here) is None
    variables = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    variables |= {"SLUICE_ARTEFACTS": str(placed.place)}
    sluice = environment / "bin" / "sluice"
    manifest = placed.manifest / "release.json"
    subprocess.run([sluice, "release", "fetch", manifest, "--into", release], cwd=here, env=variables, check=True)
    port = free_port()
    argv = [sluice, "serve", "--release", release, "--port", str(port), "--keyless"]
    with log.open("w") as out, subprocess.Popen(argv, cwd=here, env=variables, stdout=out, stderr=out) as process:
        try:

            def ready() -> bool:
                assert process.poll() is None, log.read_text()
                return answers(f"http://127.0.0.1:{port}/readyz")

            assert wait_until(ready, seconds=_START_SECONDS), log.read_text()
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait()
            shutil.copyfileobj(log.open(), sys.stderr)


def test_the_wheels_serve_a_release_outside_of_any_checkout(environment: Path, service: str) -> None:
    where = "import sluice, assistant; print(sluice.__file__); print(assistant.__file__)"
    done = subprocess.run(
        [environment / "bin" / "python", "-P", "-c", where],
        cwd="/",
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    )
    assert all(line.startswith(str(environment)) for line in done.stdout.splitlines()), done.stdout
    body = {"model": "sluice", "messages": [{"role": "user", "content": QUESTIONS["canary"]}]}
    reply = httpx.post(f"{service}/v1/chat/completions", json=body, timeout=600, trust_env=False)
    assert reply.json()["choices"][0]["message"]["content"]
    assert "<html" in httpx.get(f"{service}/", timeout=240, trust_env=False).text  # package data
