"""The pytest plugin of a project: a quiet environment, a closed network, and a clone in which releases are made.

A test may talk to this machine only when it asks for `loopback` or is marked `real`; one marked `e2e` or `image` is not
guarded at all.
"""

from __future__ import annotations

import os

# Before anything is imported: several libraries read these at import. The Makefile has the same list.
os.environ.update(
    {
        "DVC_NO_ANALYTICS": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_MODEL_CATALOG_URI": "",
        "HF_HUB_OFFLINE": "1",
        "DO_NOT_TRACK": "1",
    }
)

import gc
import signal
import socket
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from support.checkout import Checkout  # of engine/tests/, which is on pytest's path

# Plugins that packages bring along and no test uses take 3 s to load, in every worker.
UNUSED = ("schemathesis", "langsmith_plugin", "faker", "locust", "hydra_pytest", "hypothesispytest", "typeguard")
# marker -> what it means, and why its tests are left out unless they are asked for by its name
MARKERS = {
    "real": ("uses the real model, database or proxy on this machine (no network)", ""),
    "e2e": ("makes whole releases in a clone of the repository (minutes)", ""),
    "soak": ("minutes of traffic", "takes minutes: make soak"),
    "image": ("builds the images and runs them with podman", "takes minutes: make test-image"),
    "drill": ("the real proxy under load; killed pushes; training in shards", "minutes: make test-drill test-parts"),
    "fork": ("runs the rules of the house in a fork", "takes minutes: make test-fork"),
    "cluster": ("deploys into the cluster of KUBECONFIG", "needs a cluster: make e2e-cluster"),
    "sagemaker": ("needs the environment of the SDK", "needs the SDK of SageMaker: make test-sagemaker"),
}
_LOCAL = ("127.0.0.1", "::1", "localhost")
# A job in the background of a script ignores Ctrl-C, and so would all that it starts; some tests press it.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(pluginmanager: pytest.PytestPluginManager) -> None:
    """Runs before the plugins of packages are loaded."""
    for name in UNUSED:
        pluginmanager.set_blocked(name)


@pytest.hookimpl(tryfirst=True)  # before pytest decides where temporary files lie
def pytest_configure(config: pytest.Config) -> None:
    with suppress(ModuleNotFoundError):  # where engine/tests/ is not on the path
        from support.memory_folder import keep_in_memory

        keep_in_memory(config)
    for rule in ("error::pytest.PytestUnraisableExceptionWarning", "ignore::DeprecationWarning"):
        config.addinivalue_line("filterwarnings", rule)
    for name, (meaning, left_out) in MARKERS.items():
        config.addinivalue_line("markers", f"{name}: {meaning}" + ("; runs only by its name" if left_out else ""))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep the garbage collector from looking at what stays to the end."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip tests that run only by the name of their marker; put whole releases, which take longest, first."""
    items.sort(key=lambda item: item.get_closest_marker("e2e") is None)
    for marker, (_, left_out) in MARKERS.items():
        if left_out and marker not in config.option.markexpr:
            for item in items:
                if item.get_closest_marker(marker):
                    item.add_marker(pytest.mark.skip(reason=left_out))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Write the counts and failures to the job summary of GitHub Actions."""
    from sluice.core.text import table
    from sluice.github.workflow_run import write_job_summary

    stats = terminalreporter.stats
    counts = [(word, str(len(stats[word]))) for word in ("passed", "failed", "error", "skipped") if stats.get(word)]
    broken = [one for word in ("failed", "error") for one in stats.get(word, ())]
    shown = "### Tests\n\n" + table(("", "tests"), counts)
    if broken:
        shown += "\n" + table(
            ("broken", "why"), [(one.nodeid, one.longreprtext.strip().rpartition("\n")[2]) for one in broken]
        )
    if reasons := {one.longrepr[2] for one in stats.get("skipped", ()) if isinstance(one.longrepr, tuple)}:
        shown += "\n" + table(("skipped because",), [(reason,) for reason in sorted(reasons)])
    write_job_summary(shown, os.environ)


class NetworkClosedError(AssertionError):
    """A test reached for the network."""


@pytest.fixture(autouse=True)
def _own_tracking_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow notes the store of one test in the environment, where the next would find it."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture
def loopback() -> None:
    """A test that asks for this may connect to 127.0.0.1."""


@pytest.fixture(autouse=True)
def closed_network(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Refuse connections, and fail the test at its end even when the code under test swallowed the refusal."""
    if request.node.get_closest_marker("e2e") or request.node.get_closest_marker("image"):
        yield
        return
    allowed = _LOCAL if request.node.get_closest_marker("real") or "loopback" in request.fixturenames else ()
    refused: list[str] = []

    def refuse(what: str) -> None:
        refused.append(what)
        raise NetworkClosedError(f"{what}: the network is closed; ask for the fixture `loopback`, or use a fake")

    def guard(original: Callable[..., Any]) -> Callable[..., Any]:
        def connect(self: socket.socket, address: Any) -> Any:
            if self.family != socket.AF_UNIX and address[0] not in allowed:
                refuse(f"connect to {address}")
            return original(self, address)

        return connect

    resolve = socket.getaddrinfo

    def getaddrinfo(host: Any, *words: Any, **options: Any) -> Any:
        if host not in (None, "", *_LOCAL):
            refuse(f"look up {host!r}")
        return resolve(host, *words, **options)

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, guard(getattr(socket.socket, name)))
    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    yield
    if refused:
        pytest.fail(f"the test reached for the network: {', '.join(refused)}")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    """A clone of the project around the current folder, for small releases."""
    from sluice.core.workspace import Workspace
    from support.checkout import Checkout

    clone = Checkout(Workspace.find().root, tmp_path_factory.mktemp("project") / "clone")
    clone.small()
    yield clone
    assert not clone.left()
