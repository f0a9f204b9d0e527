"""The system under test: a release, a release of the working tree, or a running service."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sluice.core.errors import SluiceError
from sluice.core.progress import PipelineProgress
from sluice.core.workspace import Workspace
from sluice.extras.redteam.attack_target import AttackTarget, TargetKind, started
from sluice.jobs.dvc_pipeline import EXPECTED, command, environment, pull, reproduce
from sluice.release.release_bundle import open_bundle
from sluice.rollout.chat_stream import request
from sluice.serving.release_parts import DRAFT, ReleaseBundle, draft_adapter, draft_bundle

FOLDER = "redteam"
WORKING_TREE = "working tree"


@dataclass(frozen=True)
class SystemUnderTest:
    """`folder`: of the release, None for the working tree."""

    title: str
    bundle: ReleaseBundle
    folder: Path | None


def released(workspace: Workspace, folder: Path) -> SystemUnderTest:
    """A release on this machine."""
    bundle = open_bundle(folder, workspace)
    return SystemUnderTest(bundle.release, bundle, folder)


def draft(workspace: Workspace, *, make: bool = True) -> SystemUnderTest:
    """What the working tree would release now; with `make` its pipeline is run first, as far as something is stale."""
    if make:
        journey = PipelineProgress(EXPECTED, workspace.state / "durations.json")
        journey.begin("data")
        journey.end(cached=not pull(workspace))
        reproduce(workspace, journey, until="train")
    bundle = draft_bundle(workspace, adapter=draft_adapter(workspace))
    return SystemUnderTest(WORKING_TREE, bundle, None)


def release_at(url: str) -> str:
    """The id of the release that answers at an address. SluiceError when none does."""
    try:
        found = request(f"{url.rstrip('/')}/version", timeout=10).json()["release"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SluiceError(
            f"{url}: no Sluice service answers there ({type(error).__name__})",
            remedy="name its address without a path, as in http://127.0.0.1:8080",
        ) from None
    return str(found)


class ServiceLauncher:
    """Starts the services of a run on free loopback ports. `state`: a folder for the stores, keys and logs of the
    attacks, apart from those of the service itself."""

    def __init__(self, workspace: Workspace, subject: SystemUnderTest) -> None:
        self.state = workspace.state / FOLDER
        self._environment: Mapping[str, str] = environment(workspace)
        self._release = str(subject.folder) if subject.folder else ""

    @contextmanager
    def __call__(self, side: TargetKind, index: Path | None) -> Iterator[AttackTarget]:
        words = ["redteam", "target", "--side", side, "--port", "{port}", "--state", str(self.state)]
        words += ["--index", str(index)] if index else []
        words += ["--release", self._release] if self._release else []
        with started(side, command("sluice", *words), state=self.state, env=self._environment) as target:
            yield target


@contextmanager
def running(url: str, key: str) -> Iterator[AttackTarget]:
    """A service that was there before, and stays."""
    yield AttackTarget(url.rstrip("/"), {None: key} if key else {})


def subject_at(workspace: Workspace, url: str, folder: Path | None) -> SystemUnderTest:
    """The service at `url`; `folder`: its release on this machine, None when it serves the working tree."""
    known = released(workspace, folder) if folder else draft(workspace, make=False)
    return SystemUnderTest(f"{known.bundle.release if folder else DRAFT} at {url}", known.bundle, None)
